package lapwing.bench;

import java.util.ArrayList;
import java.util.List;

/**
 * What the rules need to know of a user: the run of one type, the rising run of deposits with its last amount, and the
 * deposits by time. Other than Lapwing's, it keeps nothing of withdrawals but their run, since no rule asks for more.
 */
final class UserState {
  /** How many buckets are kept. Beyond, the two earliest merge into the later time, so that a sum is never too low. */
  static final int BUCKETS_MAX = 4096;

  /** The deposits of one second. In a full state the first bucket may be a merged one. */
  record Bucket(long time, Amount sum) {}

  Event.Type runType = Event.Type.DEPOSIT;
  long runLength;
  long risingLength;
  Amount lastDeposit = Amount.ZERO;
  /** Ascending by time, each time once. */
  final List<Bucket> deposits;

  UserState() {
    this(0);
  }

  UserState(int buckets) {
    deposits = new ArrayList<>(buckets + 1);
  }

  /** Counts an event; a deposit drops the buckets at or before its time - horizon. */
  void add(Event event, long horizonSeconds) {
    if (event.type() != runType) {
      runType = event.type();
      runLength = 0;
    }
    runLength++;
    if (event.type() == Event.Type.DEPOSIT) {
      risingLength = event.amount().compareTo(lastDeposit) > 0 ? risingLength + 1 : 1;
      lastDeposit = event.amount();
      expire(event.time() - horizonSeconds);
      addDeposit(event.time(), event.amount());
    }
  }

  private void expire(long last) {
    int expired = 0;
    while (expired < deposits.size() && deposits.get(expired).time <= last) {
      expired++;
    }
    if (expired > 0) {
      deposits.subList(0, expired).clear();
    }
  }

  private void addDeposit(long time, Amount amount) {
    int at = deposits.size(); // Most events are not late.
    while (at > 0 && deposits.get(at - 1).time > time) {
      at--;
    }
    if (at > 0 && deposits.get(at - 1).time == time) {
      deposits.set(at - 1, new Bucket(time, deposits.get(at - 1).sum.plus(amount)));
      return;
    }
    deposits.add(at, new Bucket(time, amount));
    if (deposits.size() > BUCKETS_MAX) {
      Bucket earliest = deposits.remove(0);
      Bucket next = deposits.get(0);
      deposits.set(0, new Bucket(next.time, next.sum.plus(earliest.sum)));
    }
  }

  /**
   * The sum of the deposits with a time in (time - seconds, time]. A first bucket that may be a merged one holds times
   * before its own, so it counts for an earlier time too.
   */
  Amount depositsWithin(long time, long seconds) {
    Amount sum = Amount.ZERO;
    for (int i = deposits.size() - 1; i >= 0 && deposits.get(i).time > time - seconds; i--) {
      boolean merged = i == 0 && deposits.size() == BUCKETS_MAX;
      if (deposits.get(i).time <= time || merged) {
        sum = sum.plus(deposits.get(i).sum);
      }
    }
    return sum;
  }
}
