package contract

import (
	"encoding/binary"
	"math/bits"
	"strconv"
)

// AppendDecimal appends a number in decimal digits, as strconv.AppendInt does: keys, offsets and times are much of what
// encoding a result takes. It may write to the eight bytes after dst's length that dst has room for, whatever it appends.
func AppendDecimal(dst []byte, n int64) []byte {
	const fastMax = 99_999_999
	if n < 0 || n > fastMax || cap(dst)-len(dst) < 8 {
		return strconv.AppendInt(dst, n, 10)
	}
	// Eight digits at once, the first one in the lowest byte: halves of four, then of two, then of one digit. Each line
	// divides all parts by multiplying, and puts the quotient below the remainder.
	x := uint64(n)
	x = x/10000 | x%10000<<32
	x = x<<16 - (100<<16-1)*(x*10486>>20&0x0000007f0000007f)
	x = x<<8 - (10<<8-1)*(x*103>>10&0x000f000f000f000f)
	zeros := bits.TrailingZeros64(x|1<<56) / 8
	at := len(dst)
	binary.LittleEndian.PutUint64(dst[at:at+8], (x|0x3030303030303030)>>(8*zeros))
	return dst[:at+8-zeros]
}
