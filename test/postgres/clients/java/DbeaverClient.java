import java.sql.*;
import java.util.*;

/**
 * What DBeaver asks of the catalogues by pgjdbc to draw its tree: connection state, databases, roles, schemas, and of a schema its
 * types, tables, columns, constraints, indexes, functions, triggers and so on (its plug-in org.jkiss.dbeaver.ext.postgresql).
 */
public class DbeaverClient {
    static final String[] STATE = {
        "SET extra_float_digits = 3",
        "SET application_name = 'DBeaver 25 - Metadata'",
        "select version()",
        "SELECT current_database()",
        "SELECT current_schema(), session_user",
        "show search_path",
        "SHOW server_version_num",
        "SELECT db.oid,db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate ORDER BY datname",
        "SELECT db.oid, pg_catalog.pg_database_size(db.oid) > 0 AS sized FROM pg_catalog.pg_database db WHERE datname = current_database()",
        "select * from pg_catalog.pg_settings where 1<>1 LIMIT 1",
        "SELECT string_agg(word, ',') FROM pg_catalog.pg_get_keywords() WHERE word <> ALL ('{a,abs,absent}'::text[])",
        "SELECT a.oid,a.* FROM pg_catalog.pg_roles a ORDER BY a.oid",
        "SELECT am.oid,am.* FROM pg_catalog.pg_am am ORDER BY am.oid",
        "SELECT c.contoencoding as encid,pg_catalog.pg_encoding_to_char(c.contoencoding) as encname FROM pg_catalog.pg_conversion c GROUP BY c.contoencoding ORDER BY 2",
        "SELECT l.oid,l.* FROM pg_catalog.pg_language l ORDER BY l.oid",
        "SELECT l.oid,l.*,p.pronamespace as handler_schema_id FROM pg_catalog.pg_foreign_data_wrapper l LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid=l.fdwhandler ORDER BY l.fdwname",
        "SELECT l.oid,l.* FROM pg_catalog.pg_foreign_server l ORDER BY l.srvname",
        "SELECT t.oid,t.* FROM pg_catalog.pg_tablespace t ORDER BY t.oid",
        "SELECT e.oid, cn.nspname schema_name, e.* FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace cn ON cn.oid = e.extnamespace ORDER BY e.oid",
        "SELECT name, default_version, installed_version, comment FROM pg_catalog.pg_available_extensions ORDER BY name",
        "SELECT n.oid,n.*,d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=n.oid AND d.objsubid=0 AND d.classoid='pg_namespace'::regclass ORDER BY nspname",
        "SELECT t.oid,t.*,c.relkind,format_type(nullif(t.typbasetype, 0), t.typtypmod) as base_type_name, d.description FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid=t.typelem LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid=t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid=d.objoid WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C') ORDER BY t.oid LIMIT 300",
        "SELECT e.oid,e.* FROM pg_catalog.pg_event_trigger e ORDER BY e.oid",
        "select s.setting, s.name, s.category from pg_catalog.pg_settings s where s.name like 'enable%' order by 2",
        "SELECT count(*) > 0 FROM pg_catalog.pg_stat_activity",
        "SELECT s.* FROM pg_catalog.pg_locks s WHERE false",
    };
    static final String[] OF_SCHEMA = {
        "SELECT c.oid,c.*,d.description,pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_expr, pg_catalog.pg_get_partkeydef(c.oid) as partition_key,(select array_agg(i.inhparent) from pg_catalog.pg_inherits i where i.inhrelid = c.oid) parents FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_class'::regclass WHERE c.relnamespace=? AND c.relkind not in ('i','I','c') ORDER BY c.oid",
        "SELECT c.relname,a.*,pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) as def_value,dsc.description,dep.objid FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON (a.attrelid=c.oid) LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid=ad.adrelid AND a.attnum = ad.adnum) LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid) LEFT OUTER JOIN pg_depend dep on dep.refobjid = a.attrelid AND dep.deptype = 'i' and dep.refobjsubid = a.attnum and dep.classid = dep.refclassid WHERE NOT a.attisdropped AND c.relkind not in ('i','I','c') AND c.relnamespace=? ORDER BY c.oid, a.attnum",
        "SELECT c.oid,c.*,t.relname as tabrelname,rt.relnamespace as refnamespace,d.description, case when c.contype='c' then substring(pg_get_constraintdef(c.oid), 7) else null end consrc_copy FROM pg_catalog.pg_constraint c INNER JOIN pg_catalog.pg_class t ON t.oid=c.conrelid LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid=c.confrelid LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_constraint'::regclass WHERE t.relnamespace=? ORDER BY c.oid",
        "SELECT i.*,i.indkey as keys,c.relname,c.relnamespace,c.relam,c.reltablespace,tc.relname as tabrelname,dsc.description,pg_catalog.pg_get_expr(i.indpred, i.indrelid) as pred_expr,pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) as expr,pg_catalog.pg_relation_size(i.indexrelid) as index_rel_size FROM pg_catalog.pg_index i INNER JOIN pg_catalog.pg_class c ON c.oid=i.indexrelid INNER JOIN pg_catalog.pg_class tc ON tc.oid=i.indrelid LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid=dsc.objoid WHERE c.relnamespace=? ORDER BY c.relname",
        "SELECT p.oid as poid,p.*,pg_catalog.pg_get_expr(p.proargdefaults, 0) as arg_defaults,d.description FROM pg_catalog.pg_proc p LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=p.oid AND d.objsubid = 0 WHERE p.pronamespace=? ORDER BY p.proname",
        "SELECT x.oid,x.*,p.pronamespace as func_schema_id,d.description FROM pg_catalog.pg_trigger x INNER JOIN pg_catalog.pg_class c ON c.oid = x.tgrelid LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid=x.tgfoid LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=x.oid AND d.objsubid=0 WHERE NOT tgisinternal AND c.relnamespace=? ORDER BY x.oid",
        "SELECT r.oid, r.*, c.relname FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class WHERE c.relnamespace=? ORDER BY r.oid",
        "SELECT i.*,c.relnamespace FROM pg_catalog.pg_inherits i,pg_catalog.pg_class c WHERE c.relnamespace=? AND c.oid=i.inhparent ORDER BY i.inhseqno",
        "SELECT c.oid,c.* FROM pg_catalog.pg_collation c WHERE c.collnamespace=? ORDER BY c.oid",
        "SELECT c.oid, seq.* FROM pg_catalog.pg_class c JOIN pg_catalog.pg_sequence seq ON seq.seqrelid = c.oid WHERE c.relnamespace=? ORDER BY c.oid",
        "SELECT p.oid, p.*, c.relname FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid WHERE c.relnamespace=? ORDER BY p.oid",
        "SELECT c.relname, pg_catalog.pg_get_viewdef(c.oid, true) FROM pg_catalog.pg_class c WHERE c.relkind IN ('v', 'm') AND c.relnamespace=? ORDER BY c.oid",
        "select c.oid, pg_catalog.pg_total_relation_size(c.oid) > 0 as total_rel_size, pg_catalog.pg_relation_size(c.oid) >= 0 as rel_size FROM pg_class c WHERE c.relkind <> 'i' AND c.relnamespace=? ORDER BY 1",
        "SELECT * FROM pg_catalog.pg_default_acl a WHERE a.defaclnamespace=?",
        "SELECT DISTINCT dep.deptype, dep.classid, dep.objid, cl.relkind, attr.attname, pg_get_expr(ad.adbin, ad.adrelid) adefval, CASE WHEN cl.relkind IS NOT NULL THEN cl.relkind || COALESCE(dep.objsubid::text, '') ELSE '' END AS type FROM pg_depend dep LEFT JOIN pg_class cl ON dep.objid=cl.oid LEFT JOIN pg_attribute attr ON dep.objid=attr.attrelid AND dep.objsubid=attr.attnum LEFT JOIN pg_attrdef ad ON ad.oid=dep.objid WHERE dep.refobjid IN (SELECT oid FROM pg_class WHERE relnamespace=?) ORDER BY 1,2,3,4,5,6,7",
    };
    static final String[] OF_TABLE = {
        "SELECT * FROM information_schema.table_privileges WHERE table_schema='public' AND table_name=? ORDER BY grantee, privilege_type",
        "SELECT * FROM information_schema.column_privileges WHERE table_schema='public' AND table_name=? ORDER BY column_name, grantee, privilege_type",
        "SELECT x.oid, x.relname FROM pg_catalog.pg_class x, pg_catalog.pg_namespace ns WHERE x.relnamespace = ns.oid AND x.relkind in ('r','v','m','p','f') AND x.relname ILIKE ? ORDER BY x.relname LIMIT 10",
        "SELECT att.attname, c.relname FROM pg_catalog.pg_attribute att, pg_catalog.pg_class c WHERE c.oid = att.attrelid AND c.relname = ? AND att.attnum > 0 ORDER BY att.attnum",
    };

    static int asked = 0;

    static void ask(Connection connection, String sql, Object parameter) {
        asked++;
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setFetchSize(200);
            if (parameter instanceof Long oid) statement.setLong(1, oid);
            if (parameter instanceof String name) statement.setString(1, name);
            List<String> shown = new ArrayList<>();
            int count = 0;
            for (boolean rows = statement.execute(); rows; rows = statement.getMoreResults())
                try (ResultSet result = statement.getResultSet()) {
                    ResultSetMetaData meta = result.getMetaData();
                    for (int i = 1; i <= meta.getColumnCount(); i++) shown.add(meta.getColumnName(i) + " " + meta.getColumnTypeName(i));
                    int hash = 7;
                    for (; result.next(); count++)
                        for (int i = 1; i <= meta.getColumnCount(); i++) hash = hash * 31 + Objects.hashCode(result.getString(i));
                    shown.add(count + " rows " + Integer.toHexString(hash));
                }
            System.out.println(sql.substring(0, Math.min(60, sql.length())) + ": " + shown);
        } catch (SQLException error) {
            System.out.println(sql.substring(0, Math.min(60, sql.length())) + ": " + error.getSQLState() + " " + error.getMessage());
        }
    }

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        properties.setProperty("loginTimeout", "20");
        properties.setProperty("ApplicationName", "DBeaver 25 - Main");
        try (Connection connection = DriverManager.getConnection(System.getenv("CLIENT_JDBC_URL"), properties)) {
            for (String sql : STATE) ask(connection, sql, null);
            long schema;
            try (Statement statement = connection.createStatement(); ResultSet result = statement.executeQuery("select 'public'::regnamespace::oid::bigint")) {
                result.next();
                schema = result.getLong(1);
            }
            connection.setAutoCommit(false); // its reads are in a transaction, with a cursor where there are many
            for (String sql : OF_SCHEMA) {
                ask(connection, sql, schema);
                connection.rollback();
            }
            for (String table : new String[] {"orders", "order_overview"})
                for (String sql : OF_TABLE) {
                    ask(connection, sql, table);
                    connection.rollback();
                }
            connection.setAutoCommit(true);
            ask(connection, "SELECT o.* FROM public.orders o ORDER BY id LIMIT 200", null);
        }
        System.out.println("asked " + asked);
    }
}
