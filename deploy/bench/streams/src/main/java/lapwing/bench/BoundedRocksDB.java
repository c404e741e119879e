package lapwing.bench;

import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.Cache;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;
import org.rocksdb.RocksDB;
import org.rocksdb.WriteBufferManager;

/** Gives all stores of the process one budget of memory, for blocks and write buffers together. */
public final class BoundedRocksDB implements RocksDBConfigSetter {
  /** The key of the budget in the configuration, in bytes. */
  static final String BYTES = "lapwing.rocksdb.bytes";

  /** How many of the bytes write buffers may take. */
  private static final int WRITE_BUFFERS_DIVISOR = 2;

  private static Cache cache;
  private static WriteBufferManager writeBuffers;

  private static synchronized void share(long bytes) {
    if (cache == null) {
      RocksDB.loadLibrary();
      cache = new LRUCache(bytes);
      writeBuffers = new WriteBufferManager(bytes / WRITE_BUFFERS_DIVISOR, cache);
    }
  }

  @Override
  public void setConfig(String storeName, Options options, Map<String, Object> configs) {
    share(Long.parseLong(String.valueOf(configs.get(BYTES))));
    BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
    table.setBlockCache(cache);
    table.setCacheIndexAndFilterBlocks(true);
    table.setCacheIndexAndFilterBlocksWithHighPriority(true);
    table.setPinL0FilterAndIndexBlocksInCache(true);
    options.setTableFormatConfig(table);
    options.setWriteBufferManager(writeBuffers);
    // A store has one writer, its task's thread.
    options.setAllowConcurrentMemtableWrite(false);
  }

  @Override
  public void close(String storeName, Options options) {
    // The cache and the write buffers are the process's.
  }
}
