import java.sql.*;
import java.util.Properties;

/** A statement that waits for a person, by pgjdbc with each of its timeouts: what it makes of the wait. */
public class HeldClient {
    public static void main(String[] arguments) throws Exception {
        String how = arguments[0];
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        if (how.equals("socketTimeout")) properties.setProperty("socketTimeout", "1");
        if (how.equals("loginTimeout")) {
            properties.setProperty("loginTimeout", "1");
            properties.setProperty("currentSchema", "held");
        }
        try (Connection connection = DriverManager.getConnection(System.getenv("CLIENT_JDBC_URL"), properties)) {
            try (Statement statement = connection.createStatement()) {
                if (how.equals("queryTimeout")) statement.setQueryTimeout(1);
                if (how.equals("longer")) statement.setQueryTimeout(600);
                System.out.println("changed " + statement.executeUpdate("update t set n = n + 1 -- held"));
                for (SQLWarning warning = statement.getWarnings(); warning != null; warning = warning.getNextWarning())
                    System.out.println("warned " + warning.getMessage().startsWith("waiting for approval"));
            } catch (SQLException error) {
                System.out.println("failed " + error.getSQLState());
            }
            if (!connection.isClosed())
                try (Statement statement = connection.createStatement(); ResultSet result = statement.executeQuery("select n from t")) {
                    result.next();
                    System.out.println("alive " + result.getInt(1));
                }
            else System.out.println("closed");
        } catch (SQLException error) {
            System.out.println("not in " + error.getSQLState());
        }
        System.exit(0);
    }
}
