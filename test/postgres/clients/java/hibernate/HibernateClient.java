import jakarta.persistence.*;
import java.math.BigDecimal;
import java.time.Instant;
import java.util.*;
import java.util.logging.*;
import org.hibernate.cfg.Configuration;

/** What Hibernate gets for its work, as text: entities, queries, locks, batches, a schema made and checked. */
public class HibernateClient {
  @Entity(name = "Customer")
  @Table(name = "customers")
  public static class Customer {
    @Id public Integer id;
    public String name;
    public String email;
    public String city;
    public String[] tags = {};
    @Column(name = "created_at") public Instant createdAt;
    @OneToMany(mappedBy = "customer") @OrderBy("id") public List<Purchase> purchases = new ArrayList<>();
  }

  @Entity(name = "Purchase")
  @Table(name = "orders")
  public static class Purchase {
    @Id public Integer id;
    @ManyToOne(fetch = FetchType.LAZY) @JoinColumn(name = "customer_id") public Customer customer;
    @Column(columnDefinition = "numeric(10,2)") public BigDecimal total;
    @Column(name = "placed_at") public Instant placedAt;
  }

  @Entity(name = "Memo")
  @Table(name = "hibernate_memos", indexes = @Index(columnList = "text"))
  public static class Memo {
    @Id @GeneratedValue(strategy = GenerationType.SEQUENCE) public Long id;
    @Version public int version;
    @Column(nullable = false, length = 40) public String text;
  }

  static void show(String label, Object value) {
    System.out.println(label + ": " + value);
  }

  static Configuration configuration(String action, Class<?>... entities) {
    Configuration configuration = new Configuration()
        .setProperty("hibernate.connection.url", System.getenv("CLIENT_JDBC_URL"))
        .setProperty("hibernate.connection.username", System.getenv("PGUSER"))
        .setProperty("hibernate.connection.password", System.getenv("PGPASSWORD"))
        .setProperty("hibernate.jdbc.batch_size", "20")
        .setProperty("hibernate.hbm2ddl.auto", action);
    for (Class<?> entity : entities) configuration.addAnnotatedClass(entity);
    return configuration;
  }

  public static void main(String[] args) {
    LogManager.getLogManager().reset();
    try (var factory = configuration("none", Customer.class, Purchase.class).buildSessionFactory()) {
      factory.inTransaction(session -> {
        show("list", session.createQuery("from Customer order by id", Customer.class).setMaxResults(3).list().stream()
            .map(each -> each.id + " " + each.name + " " + each.email + " " + Arrays.toString(each.tags) + " " + each.createdAt).toList());
        show("lazy", session.find(Customer.class, 1).purchases.stream().map(each -> each.id + " " + each.total).toList());
        show("fetched", session.createQuery("select distinct c from Customer c join fetch c.purchases p where p.total > :least order by c.id", Customer.class)
            .setParameter("least", new BigDecimal("20")).setMaxResults(5).list().stream().map(each -> each.id).toList());
        show("sums", session.createQuery("select c.city, sum(p.total) from Purchase p join p.customer c group by c.city having count(*) > 2 order by c.city", Object[].class)
            .list().stream().map(Arrays::toString).toList());
      });
      try {
        factory.inTransaction(session -> {
          for (int n = 0; n < 30; n++) {
            Customer made = new Customer();
            made.id = 9700 + n;
            made.name = "Ada " + n;
            made.email = n + "@example.info";
            made.city = "Turin";
            made.createdAt = Instant.EPOCH;
            session.persist(made);
          }
          session.flush();
          Customer locked = session.find(Customer.class, 9700, LockModeType.PESSIMISTIC_WRITE);
          locked.city = "Cork";
          session.flush();
          show("changed", session.createNativeQuery("select city from customers where id = 9700", String.class).getSingleResult());
          show("updated", session.createMutationQuery("update Customer set city = 'Lyon' where id >= 9700").executeUpdate());
          session.createNativeMutationQuery("insert into customers (id, name, email, city, created_at) values (9700, '', '', '', now())").executeUpdate();
        });
      } catch (PersistenceException error) {
        show("error", error.getClass().getSimpleName());
      }
      factory.inTransaction(session -> show("rolled back", session.createQuery("select count(*) from Customer where id >= 9700", Long.class).getSingleResult()));
    }
    for (String action : List.of("update", "validate"))
      try (var factory = configuration(action, Memo.class).buildSessionFactory()) {
        factory.inTransaction(session -> {
          Memo memo = new Memo();
          memo.text = action;
          session.persist(memo);
        });
        factory.inTransaction(session -> {
          Memo memo = session.createQuery("from Memo order by id desc", Memo.class).setMaxResults(1).getSingleResult();
          memo.text = memo.text + "!";
        });
        factory.inTransaction(session -> show(action, session.createQuery("select text, version from Memo order by id", Object[].class)
            .list().stream().map(Arrays::toString).toList()));
      }
    try (var factory = configuration("drop", Memo.class).buildSessionFactory()) {
      show("done", factory.isOpen());
    }
  }
}
