import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes the records of standard input to a topic with the Java client, in their order, and prints how many were
 * acknowledged. A record is two fields, key and value, each a 32-bit big-endian length, -1 for none, and the bytes. After
 * a failure it reads no further, and ends with 1 and the causes, each once, on standard error.
 */
public final class JavaProducer {
  public static void main(String[] args) throws IOException {
    if (args.length != 3) {
      System.err.println("arguments: brokers topic milliseconds for an acknowledgement");
      System.exit(2);
    }
    Properties properties = new Properties();
    properties.put("bootstrap.servers", args[0]);
    properties.put("acks", "all");
    properties.put("enable.idempotence", "true");
    properties.put("max.block.ms", args[2]);
    properties.put("delivery.timeout.ms", args[2]);
    AtomicLong acknowledged = new AtomicLong();
    // The records of one refused batch fail with different causes, of which not the first need be the one that tells.
    Set<String> causes = ConcurrentHashMap.newKeySet();
    DataInputStream in = new DataInputStream(new BufferedInputStream(System.in));
    try (KafkaProducer<byte[], byte[]> producer =
        new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
      for (Integer length; causes.isEmpty() && (length = firstLength(in)) != null; ) {
        byte[] key = field(in, length);
        byte[] value = field(in, in.readInt());
        producer.send(
            new ProducerRecord<>(args[1], key, value),
            (metadata, exception) -> {
              if (exception == null) {
                acknowledged.incrementAndGet();
              } else {
                causes.add(exception.toString());
              }
            });
      }
      producer.flush();
    }
    System.out.println("acknowledged " + acknowledged.get());
    if (!causes.isEmpty()) {
      causes.forEach(System.err::println);
      System.exit(1);
    }
  }

  /** Reads the length that begins a record, or null at the end of the input between two records. */
  private static Integer firstLength(DataInputStream in) throws IOException {
    in.mark(1);
    if (in.read() < 0) {
      return null;
    }
    in.reset();
    return in.readInt();
  }

  private static byte[] field(DataInputStream in, int length) throws IOException {
    if (length < 0) {
      return null;
    }
    byte[] bytes = in.readNBytes(length);
    if (bytes.length < length) {
      throw new EOFException("the input ends within a record");
    }
    return bytes;
  }
}
