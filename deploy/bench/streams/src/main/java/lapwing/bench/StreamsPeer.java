package lapwing.bench;

import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Lapwing's work as a Kafka Streams application: judges the events of a topic and publishes a result for each. */
public final class StreamsPeer {
  private static final Logger LOG = LoggerFactory.getLogger(StreamsPeer.class);
  private static final Duration CLOSE_TIMEOUT = Duration.ofSeconds(30);

  private StreamsPeer() {}

  /** Runs until SIGTERM or SIGINT. */
  public static void main(String[] args) throws InterruptedException {
    KafkaStreams streams;
    try {
      Options options = new Options(args);
      streams = new KafkaStreams(topology(options), config(options));
    } catch (IllegalArgumentException | ConfigException e) {
      System.err.println(e.getMessage() + "\n" + Options.usage());
      System.exit(2);
      return;
    }
    System.exit(run(streams));
  }

  /** Returns the exit code, unless a signal ends the process before. */
  private static int run(KafkaStreams streams) throws InterruptedException {
    CountDownLatch failed = new CountDownLatch(1);
    streams.setUncaughtExceptionHandler(e -> {
      LOG.error("a stream thread failed, the application ends", e);
      failed.countDown();
      return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      if (!streams.close(CloseOptions.timeout(CLOSE_TIMEOUT)
          .withGroupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP))) {
        LOG.error("not closed within {}", CLOSE_TIMEOUT);
      }
    }, "close"));
    streams.start();
    failed.await();
    return 1;
  }

  static Topology topology(Options options) {
    KeyValueBytesStoreSupplier supplier = switch (options.store()) {
      case ROCKSDB -> Stores.persistentKeyValueStore(Judge.USERS);
      case MEMORY -> Stores.inMemoryKeyValueStore(Judge.USERS);
    };
    StoreBuilder<KeyValueStore<Long, UserState>> users =
        Stores.keyValueStoreBuilder(supplier, Serdes.Long(), new UserStateSerde()).withLoggingEnabled(Map.of());
    if (options.cacheBytes() > 0) {
      users.withCachingEnabled();
    }
    Serializer<Result> results = (topic, result) -> result.json();
    DecimalSerde keys = new DecimalSerde();
    return new Topology()
        .addSource("events", keys.deserializer(), new EventDeserializer(), options.get("input"))
        .addProcessor("judge", new ProcessorSupplier<Long, Event, Long, Result>() {
          @Override
          public Processor<Long, Event, Long, Result> get() {
            return new Judge();
          }

          @Override
          public Set<StoreBuilder<?>> stores() {
            return Set.of(users);
          }
        }, "events")
        .addSink("results", options.get("output"), keys.serializer(), results, "judge");
  }

  static Properties config(Options options) {
    Properties config = new Properties();
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("brokers"));
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, options.get("application-id"));
    config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, options.get("guarantee"));
    config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, options.number("commit-interval-ms"));
    config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Math.toIntExact(options.number("threads")));
    config.put(StreamsConfig.STATE_DIR_CONFIG, options.get("state-dir"));
    config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, Math.toIntExact(options.number("replication")));
    config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, options.cacheBytes());
    config.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, BoundedRocksDB.class);
    config.put(BoundedRocksDB.BYTES, options.number("rocksdb-bytes"));
    int pollRecords = Math.toIntExact(options.number("poll-records"));
    config.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, pollRecords);
    config.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), pollRecords);
    config.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    config.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.ISOLATION_LEVEL_CONFIG), "read_committed");
    config.put(StreamsConfig.producerPrefix(ProducerConfig.ACKS_CONFIG), "all");
    config.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), options.get("linger-ms"));
    config.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), options.get("batch-bytes"));
    return config;
  }
}
