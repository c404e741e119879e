package lapwing.bench;

import java.util.Arrays;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serializer;

/**
 * The stored form of a user's state: variable-length integers, seven bits a byte, the lowest first.
 *
 * <pre>
 * run length * 2 + type, rising length, last deposit (unless the rising length is 0), number of buckets,
 * and for each bucket: seconds since the bucket before (the first: since 0), sum
 * </pre>
 *
 * An amount of whole cents is cents * 2, any other high * 2 + 1, whole, fraction. Shared by all tasks' stores, so it
 * has no state of its own.
 */
final class UserStateSerde implements Serde<UserState> {
  private static final int VARINT_BYTES_MAX = 10;
  private static final int AMOUNT_BYTES_MAX = 3 * VARINT_BYTES_MAX;
  private static final long FRACTION_PER_CENT = 10_000_000_000_000_000L;
  private static final long CENTS_WHOLE_END = 10_000_000_000_000_000L;
  private static final Event.Type[] TYPES = Event.Type.values();

  @Override
  public Serializer<UserState> serializer() {
    return (topic, state) -> state == null ? null : encode(state);
  }

  @Override
  public Deserializer<UserState> deserializer() {
    return (topic, bytes) -> bytes == null ? null : decode(bytes);
  }

  static byte[] encode(UserState state) {
    int buckets = state.deposits.size();
    Writer out = new Writer(
        3 * VARINT_BYTES_MAX + AMOUNT_BYTES_MAX + buckets * (VARINT_BYTES_MAX + AMOUNT_BYTES_MAX));
    out.number(state.runLength << 1 | state.runType.ordinal());
    out.number(state.risingLength);
    if (state.risingLength > 0) {
      out.amount(state.lastDeposit);
    }
    out.number(buckets);
    long before = 0;
    for (int i = 0; i < buckets; i++) {
      UserState.Bucket bucket = state.deposits.get(i);
      out.number(bucket.time() - before);
      out.amount(bucket.sum());
      before = bucket.time();
    }
    return Arrays.copyOf(out.bytes, out.at);
  }

  static UserState decode(byte[] bytes) {
    Reader in = new Reader(bytes);
    try {
      long run = in.number();
      long rising = in.number();
      Amount last = rising > 0 ? in.amount() : Amount.ZERO;
      int buckets = Math.toIntExact(in.number());
      UserState state = new UserState(buckets);
      state.runType = TYPES[(int) (run & 1)];
      state.runLength = run >>> 1;
      state.risingLength = rising;
      state.lastDeposit = last;
      long time = 0;
      for (int i = 0; i < buckets; i++) {
        time += in.number();
        state.deposits.add(new UserState.Bucket(time, in.amount()));
      }
      if (in.at != bytes.length) {
        throw new SerializationException("state of a user has " + (bytes.length - in.at) + " bytes too many");
      }
      return state;
    } catch (ArithmeticException | IndexOutOfBoundsException e) {
      throw new SerializationException("state of a user of " + bytes.length + " bytes is damaged", e);
    }
  }

  private static final class Writer {
    final byte[] bytes;
    int at;

    Writer(int bytesMax) {
      bytes = new byte[bytesMax];
    }

    void number(long number) {
      long rest = number;
      while ((rest & ~0x7fL) != 0) {
        bytes[at++] = (byte) (rest | 0x80);
        rest >>>= 7;
      }
      bytes[at++] = (byte) rest;
    }

    void amount(Amount amount) {
      if (amount.high() == 0 && amount.whole() < CENTS_WHOLE_END && amount.fraction() % FRACTION_PER_CENT == 0) {
        number((100 * amount.whole() + amount.fraction() / FRACTION_PER_CENT) << 1);
        return;
      }
      number(amount.high() << 1 | 1);
      number(amount.whole());
      number(amount.fraction());
    }
  }

  private static final class Reader {
    final byte[] bytes;
    int at;

    Reader(byte[] bytes) {
      this.bytes = bytes;
    }

    long number() {
      long number = 0;
      for (int shift = 0; shift < 7 * VARINT_BYTES_MAX; shift += 7) {
        byte next = bytes[at++];
        number |= (next & 0x7fL) << shift;
        if (next >= 0) {
          return number;
        }
      }
      throw new ArithmeticException("a number has more than 64 bits");
    }

    Amount amount() {
      long head = number();
      if ((head & 1) == 0) {
        long cents = head >>> 1;
        return new Amount(0, cents / 100, cents % 100 * FRACTION_PER_CENT);
      }
      return new Amount(head >>> 1, number(), number());
    }
  }
}
