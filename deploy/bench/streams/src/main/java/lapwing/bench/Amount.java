package lapwing.bench;

/**
 * An exact amount of money, or the sum of amounts: high * 10^18 + whole + fraction / 10^18. The parts whole and
 * fraction are below 10^18, so that an amount of 18 digits on either side has high 0, and a sum of up to 2^63 of them
 * fits.
 */
record Amount(long high, long whole, long fraction) implements Comparable<Amount> {
  /** The most digits on either side of the point. */
  static final int DIGITS_MAX = 18;

  static final Amount ZERO = new Amount(0, 0, 0);

  private static final long BASE = 1_000_000_000_000_000_000L;

  private static final long[] POWERS = powers();

  private static long[] powers() {
    long[] powers = new long[DIGITS_MAX + 1];
    powers[0] = 1;
    for (int i = 1; i <= DIGITS_MAX; i++) {
      powers[i] = 10 * powers[i - 1];
    }
    return powers;
  }

  /** Reads digits with an optional fraction, above zero. */
  static Amount parse(byte[] text, int from, int to) {
    int point = digitsEnd(text, from, to);
    int end = point;
    if (point < to && text[point] == '.') {
      end = digitsEnd(text, point + 1, to);
      if (end == point + 1) {
        throw new IllegalArgumentException("amount has no digit after its point");
      }
    }
    if (point == from || end < to) {
      throw new IllegalArgumentException("amount is not of the form digits or digits.digits");
    }
    int fractionDigits = Math.max(end - point - 1, 0);
    if (point - from > DIGITS_MAX || fractionDigits > DIGITS_MAX) {
      throw new IllegalArgumentException("amount has more than " + DIGITS_MAX + " digits before or after its point");
    }
    long whole = number(text, from, point);
    long fraction = fractionDigits == 0 ? 0 : number(text, point + 1, end) * POWERS[DIGITS_MAX - fractionDigits];
    if (whole == 0 && fraction == 0) {
      throw new IllegalArgumentException("amount is zero");
    }
    return new Amount(0, whole, fraction);
  }

  /** Returns where the digits that begin at from end. */
  static int digitsEnd(byte[] text, int from, int to) {
    int at = from;
    while (at < to && text[at] >= '0' && text[at] <= '9') {
      at++;
    }
    return at;
  }

  /** The number that up to 18 digits are. */
  static long number(byte[] digits, int from, int to) {
    long number = 0;
    for (int i = from; i < to; i++) {
      number = 10 * number + digits[i] - '0';
    }
    return number;
  }

  Amount plus(Amount other) {
    long sumFraction = fraction + other.fraction;
    long sumWhole = whole + other.whole;
    long sumHigh = high + other.high;
    if (sumFraction >= BASE) {
      sumFraction -= BASE;
      sumWhole++;
    }
    if (sumWhole >= BASE) {
      sumWhole -= BASE;
      sumHigh++;
    }
    return new Amount(sumHigh, sumWhole, sumFraction);
  }

  @Override
  public int compareTo(Amount other) {
    if (high != other.high) {
      return Long.compare(high, other.high);
    }
    if (whole != other.whole) {
      return Long.compare(whole, other.whole);
    }
    return Long.compare(fraction, other.fraction);
  }
}
