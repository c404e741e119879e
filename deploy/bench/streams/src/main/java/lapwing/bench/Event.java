package lapwing.bench;

/** A user's event; time is in seconds. */
record Event(Type type, Amount amount, long userId, long time) {
  /** The first time that is refused: it looks like milliseconds. */
  static final long TIME_END = 100_000_000_000L;

  enum Type { DEPOSIT, WITHDRAW }

  Event {
    if (time >= TIME_END) {
      throw new IllegalArgumentException("time " + time + " looks like milliseconds");
    }
  }
}
