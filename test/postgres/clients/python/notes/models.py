from django.contrib.postgres.fields import ArrayField
from django.db import models


class Customer(models.Model):
    name = models.TextField()
    email = models.TextField(unique=True)
    city = models.TextField()
    tags = ArrayField(models.TextField())
    created_at = models.DateTimeField()

    class Meta:
        managed, db_table = False, "customers"


class Order(models.Model):
    customer = models.ForeignKey(Customer, models.DO_NOTHING, related_name="orders")
    items = models.JSONField()
    total = models.DecimalField(max_digits=10, decimal_places=2)
    placed_at = models.DateTimeField()

    class Meta:
        managed, db_table = False, "orders"


class Note(models.Model):
    text = models.CharField(max_length=40, db_index=True)
    at = models.DateTimeField(auto_now_add=True, null=True)
