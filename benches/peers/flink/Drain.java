import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;

/**
 * Flink SQL from Kafka to JDBC, at least once, in one JVM with two slots. The timestamp goes through as
 * text, which Postgres parses: that is faster than Flink's own TIMESTAMP.
 */
public class Drain {
  static final String COLUMNS =
      "order_id BIGINT, customer_id BIGINT, status STRING, amount DOUBLE, currency STRING,"
          + " item_count INT, express BOOLEAN, created_at STRING, note STRING";

  public static void main(String[] arguments) throws Exception {
    Map<String, String> env = System.getenv();
    Configuration configuration = new Configuration();
    configuration.setString("pipeline.object-reuse", "true");
    configuration.setString("execution.checkpointing.interval", "10s");
    configuration.setString("taskmanager.numberOfTaskSlots", "2");
    StreamTableEnvironment tables =
        StreamTableEnvironment.create(
            StreamExecutionEnvironment.createLocalEnvironment(2, configuration));
    tables.executeSql(
        table(
            "source",
            "'connector'='kafka', 'topic'='orders', 'format'='json',"
                + " 'properties.bootstrap.servers'='" + env.get("KAFKA_BROKERS") + "',"
                + " 'properties.group.id'='" + env.get("KAFKA_GROUP") + "',"
                + " 'scan.startup.mode'='earliest-offset',"
                + " 'properties.max.poll.records'='5000',"
                + " 'properties.fetch.min.bytes'='262144',"
                + " 'properties.fetch.max.wait.ms'='100'"));
    tables.executeSql(
        table(
            "sink",
            "'connector'='jdbc', 'table-name'='orders',"
                + " 'url'='" + env.get("JDBC_URL")
                + "?reWriteBatchedInserts=true&stringtype=unspecified',"
                + " 'username'='" + env.get("JDBC_USER") + "',"
                + " 'password'='" + env.get("JDBC_PASSWORD") + "',"
                + " 'sink.buffer-flush.max-rows'='5000', 'sink.buffer-flush.interval'='1s'"));
    tables.executeSql("INSERT INTO sink SELECT * FROM source").await();
  }

  static String table(String name, String options) {
    return "CREATE TABLE " + name + " (" + COLUMNS + ") WITH (" + options + ")";
  }
}
