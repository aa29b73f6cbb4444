import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

/** What pgjdbc gets for its work, as text: the same straight from the server and through a tunnel. */
public class JdbcClient {
    static void show(String label, Object value) {
        System.out.println(label + ": " + value);
    }

    static List<List<String>> rows(ResultSet result) throws SQLException {
        List<List<String>> all = new ArrayList<>();
        int columns = result.getMetaData().getColumnCount();
        while (result.next()) {
            List<String> row = new ArrayList<>();
            for (int i = 1; i <= columns; i++) row.add(result.getString(i));
            all.add(row);
        }
        return all;
    }

    interface Work { void run() throws Exception; }

    static void failing(String label, Work work) throws Exception {
        try {
            work.run();
            show(label, "no error");
        } catch (SQLException error) {
            show(label, error.getSQLState() + " " + error.getMessage());
        }
    }

    public static void main(String[] arguments) throws Exception {
        String url = System.getenv("CLIENT_JDBC_URL");
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        for (int i = 0; i < arguments.length; i += 2) properties.setProperty(arguments[i], arguments[i + 1]);
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            DatabaseMetaData meta = connection.getMetaData();
            show("server", meta.getDatabaseProductVersion());
            show("tables", rows(meta.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"})));
            for (String table : List.of("customers", "orders", "payments")) {
                show(table + " columns", rows(meta.getColumns(null, "public", table, "%")));
                show(table + " keys", rows(meta.getPrimaryKeys(null, "public", table)));
                show(table + " imported", rows(meta.getImportedKeys(null, "public", table)));
                show(table + " indexes", rows(meta.getIndexInfo(null, "public", table, false, true)).size());
            }
            show("functions", rows(meta.getFunctions(null, "public", "%")));
            try (Statement statement = connection.createStatement()) {
                show("rows", rows(statement.executeQuery("select * from customers order by id limit 5")));
                show("several", statement.execute("select 1; update customers set city = city where id = 1; select 2"));
                show("update count", statement.getMoreResults() + " " + statement.getUpdateCount());
                failing("syntax", () -> statement.execute("selec 1"));
                failing("missing", () -> statement.execute("select * from nowhere"));
                failing("constraint", () -> statement.execute("update payments set status = 'lost' where id = 1"));
            }
            try (PreparedStatement prepared = connection.prepareStatement(
                    "select id, total, placed_at, items::text, status from orders where id = ?")) {
                for (int i = 1; i <= 12; i++) { // named at the server, and binary, from the fifth run on
                    prepared.setInt(1, i);
                    show("prepared " + i, rows(prepared.executeQuery()));
                }
                show("described", prepared.getMetaData().getColumnTypeName(2));
            }
            connection.setAutoCommit(false);
            try (PreparedStatement batch = connection.prepareStatement(
                    "insert into customers (id, name, email, city, created_at) values (?, ?, ?, ?, now())")) {
                for (int i = 0; i < 100; i++) {
                    batch.setInt(1, 9200 + i);
                    batch.setString(2, "name " + i);
                    batch.setString(3, "b" + i + "@example.com");
                    batch.setString(4, i % 2 == 0 ? "Oslo" : "Łódź");
                    batch.addBatch();
                }
                show("batch", Arrays.stream(batch.executeBatch()).sum());
            }
            try (Statement cursor = connection.createStatement()) {
                cursor.setFetchSize(17);
                int count = 0;
                try (ResultSet result = cursor.executeQuery("select * from customers order by id")) {
                    while (result.next()) count++;
                }
                show("fetched", count);
                Savepoint savepoint = connection.setSavepoint("here");
                failing("in transaction", () -> cursor.execute("insert into customers (id, name, email, city, created_at) values (1, 'x', 'x', 'x', now())"));
                failing("aborted", () -> cursor.execute("select 1"));
                connection.rollback(savepoint);
                show("after savepoint", rows(cursor.executeQuery("select count(*) from customers")));
            }
            try (PreparedStatement keys = connection.prepareStatement(
                    "insert into orders (customer_id, items, total, placed_at) values (1, '[]', 1.50, '2026-01-01Z')", Statement.RETURN_GENERATED_KEYS)) {
                keys.executeUpdate();
                ResultSet generated = keys.getGeneratedKeys();
                generated.next();
                show("generated", generated.getInt("id") > 0);
            }
            CopyManager copy = connection.unwrap(PGConnection.class).getCopyAPI();
            try (Statement statement = connection.createStatement()) {
                statement.execute("create temp table copied (a int, b text)");
            }
            show("copy in", copy.copyIn("copy copied from stdin (format csv)", new StringReader("1,one\n2,\"two, and\"\n3,\n")));
            StringWriter out = new StringWriter();
            show("copy out", copy.copyOut("copy (select * from copied order by a) to stdout", out) + " " + out);
            failing("copy broken", () -> copy.copyIn("copy copied from stdin", new StringReader("x\ty\n")));
            connection.rollback();
            connection.setAutoCommit(true);
            try (Statement slow = connection.createStatement()) {
                Timer timer = new Timer(true);
                timer.schedule(new TimerTask() {
                    public void run() {
                        try { slow.cancel(); } catch (SQLException error) { show("cancel", error); }
                    }
                }, 500, 500);
                failing("cancelled", () -> slow.execute("select pg_sleep(30)"));
                timer.cancel();
                slow.setQueryTimeout(1);
                failing("timed out", () -> slow.execute("select pg_sleep(30)"));
                slow.setQueryTimeout(0);
                show("alive", rows(slow.executeQuery("select 1")));
                slow.execute("do $$ begin raise notice 'by jdbc'; end $$");
                show("warning", slow.getWarnings().getMessage());
                slow.execute("listen news");
                slow.execute("notify news, 'x'");
                slow.execute("select 1");
                show("notified", connection.unwrap(PGConnection.class).getNotifications(5000)[0].getParameter());
            }
            show("valid", connection.isValid(5));
        }
    }
}
