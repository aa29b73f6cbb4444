from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notes", "0001_first")]
    operations = [
        migrations.AddField("note", "at", models.DateTimeField(auto_now_add=True, null=True)),
        migrations.RunPython(lambda apps, _: apps.get_model("notes", "Note").objects.create(text="one"), migrations.RunPython.noop),
    ]
