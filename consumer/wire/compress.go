package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Compression is the codec of a record batch, numbered as on the wire.
type Compression int8

// The codecs that Kafka knows.
const (
	None Compression = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var compressionNames = [...]string{None: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd"}

func (c Compression) String() string {
	if c < 0 || int(c) >= len(compressionNames) {
		return fmt.Sprintf("Compression(%d)", int8(c))
	}
	return compressionNames[c]
}

// ParseCompression takes the names of Kafka's own configuration.
func ParseCompression(name string) (Compression, error) {
	for c, n := range compressionNames {
		if n == name {
			return Compression(c), nil
		}
	}
	return None, fmt.Errorf("compression %q is none of %q", name, compressionNames)
}

var (
	gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}
	lz4Writers  = sync.Pool{New: func() any {
		w := lz4.NewWriter(nil)
		// The options cannot fail: they are constants that the package offers.
		// Java's producer has blocks of 64 KiB and no checksum too; the default
		// of 4 MiB would cost each writer 8 MiB.
		_ = w.Apply(lz4.BlockSizeOption(lz4.Block256Kb), lz4.ChecksumOption(false))
		return w
	}}
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(err) // The options are constants.
		}
		return e
	})
)

// appendCompressed appends src to dst, compressed.
func appendCompressed(dst []byte, c Compression, src []byte) ([]byte, error) {
	switch c {
	case None:
		return append(dst, src...), nil
	case Gzip:
		w := gzipWriters.Get().(*gzip.Writer)
		defer gzipWriters.Put(w)
		return appendStream(dst, src, w)
	case Snappy:
		// One raw block without xerial's frame, as librdkafka and franz-go write
		// and every client reads.
		n := s2.MaxEncodedLen(len(src))
		if n < 0 {
			return dst, fmt.Errorf("%d bytes are too many for one snappy block", len(src))
		}
		if cap(dst)-len(dst) < n {
			grown := make([]byte, len(dst), len(dst)+n)
			copy(grown, dst)
			dst = grown
		}
		block := s2.EncodeSnappy(dst[len(dst):len(dst)+n], src)
		return dst[:len(dst)+len(block)], nil
	case LZ4:
		w := lz4Writers.Get().(*lz4.Writer)
		defer lz4Writers.Put(w)
		return appendStream(dst, src, w)
	case Zstd:
		return zstdEncoder().EncodeAll(src, dst), nil
	}
	return dst, fmt.Errorf("unknown compression %v", c)
}

type streamWriter interface {
	io.WriteCloser
	Reset(io.Writer)
}

func appendStream(dst, src []byte, w streamWriter) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	w.Reset(out)
	if _, err := w.Write(src); err != nil {
		return dst, err
	}
	if err := w.Close(); err != nil {
		return dst, err
	}
	return out.Bytes(), nil
}

// keepBytesMax is the largest buffer that a decompressor keeps for the next
// batch: one huge batch must not occupy its memory for ever.
const keepBytesMax = 8 << 20

// decompressor expands record batches into a buffer of its own, never beyond
// limit bytes: a batch of a kilobyte can claim to be gigabytes. kafka-go's
// codecs are not used because the one for snappy allocates what a block claims.
type decompressor struct {
	limit int
	buf   []byte
	src   bytes.Reader
	gzip  *gzip.Reader
	lz4   *lz4.Reader
	zstd  *zstd.Decoder
}

// expand returns what src decompresses to, valid until the next call. An error
// wraps ErrTooLarge if that is more than the limit, or ErrMalformed.
func (d *decompressor) expand(c Compression, src []byte) ([]byte, error) {
	var err error
	d.buf = d.buf[:0]
	switch c {
	case Gzip:
		err = d.expandGzip(src)
	case Snappy:
		err = d.expandSnappy(src)
	case LZ4:
		d.src.Reset(src)
		if d.lz4 == nil {
			d.lz4 = lz4.NewReader(&d.src)
		} else {
			d.lz4.Reset(&d.src)
		}
		err = d.readAll(d.lz4)
	case Zstd:
		err = d.expandZstd(src)
	default:
		return nil, fmt.Errorf("%w: unknown compression %v", ErrMalformed, c)
	}
	switch {
	case err == nil:
		return d.buf, nil
	case errors.Is(err, ErrTooLarge):
		return nil, err
	}
	return nil, fmt.Errorf("%w: %v data: %w", ErrMalformed, c, err)
}

// letGo ends the use of what expand returned. A partition that stays silent
// from then on must not hold a huge buffer.
func (d *decompressor) letGo() {
	if cap(d.buf) > keepBytesMax {
		d.buf = nil
	}
}

func (d *decompressor) tooLarge() error {
	return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, d.limit)
}

func (d *decompressor) expandGzip(src []byte) error {
	d.src.Reset(src)
	var err error
	if d.gzip == nil {
		d.gzip, err = gzip.NewReader(&d.src)
	} else {
		err = d.gzip.Reset(&d.src)
	}
	if err != nil {
		d.gzip = nil
		return err
	}
	return d.readAll(d.gzip)
}

// readAll reads r into the buffer, growing it as data arrives up to the limit.
func (d *decompressor) readAll(r io.Reader) error {
	for {
		if len(d.buf) >= d.limit {
			return d.expectEnd(r)
		}
		if len(d.buf) == cap(d.buf) {
			d.grow(max(2*cap(d.buf), 64<<10))
		}
		n, err := r.Read(d.buf[len(d.buf):min(cap(d.buf), d.limit)])
		d.buf = d.buf[:len(d.buf)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// expectEnd is nil if r has nothing more to give.
func (d *decompressor) expectEnd(r io.Reader) error {
	var one [1]byte
	_, err := io.ReadFull(r, one[:])
	if err == nil {
		return d.tooLarge()
	}
	if err == io.EOF {
		return nil
	}
	return err
}

func (d *decompressor) grow(size int) {
	grown := make([]byte, len(d.buf), min(size, d.limit))
	copy(grown, d.buf)
	d.buf = grown
}

// xerialMagic starts the frame that snappy-java, and so Kafka's Java clients,
// put around snappy blocks: this, two versions of four bytes, then blocks with
// their length. Other clients send one bare block.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

func (d *decompressor) expandSnappy(src []byte) error {
	if !bytes.HasPrefix(src, xerialMagic) {
		return d.snappyBlock(src)
	}
	if len(src) < 16 {
		return io.ErrUnexpectedEOF
	}
	for src = src[16:]; len(src) > 0; {
		if len(src) < 4 {
			return io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(n) > uint64(len(src)) {
			return io.ErrUnexpectedEOF
		}
		if err := d.snappyBlock(src[:n]); err != nil {
			return err
		}
		src = src[n:]
	}
	return nil
}

func (d *decompressor) snappyBlock(block []byte) error {
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return err
	}
	if n > d.limit-len(d.buf) {
		return d.tooLarge()
	}
	// A block of snappy cannot expand by more than 64 bytes for each 3 (a copy of
	// 64 bytes takes 3), so a larger claim is a lie and must not allocate.
	if n > 64+len(block)*22 {
		return snappy.ErrCorrupt
	}
	if need := len(d.buf) + n; need > cap(d.buf) {
		d.grow(max(need, 2*cap(d.buf)))
	}
	out, err := snappy.Decode(d.buf[len(d.buf):len(d.buf)+n], block)
	if err != nil {
		return err
	}
	d.buf = d.buf[:len(d.buf)+len(out)]
	return nil
}

// zstdWindowBytes is the window that every decoder of zstd should allow (RFC
// 8878). The package takes its limit of memory for one of the window too, and
// a batch of some bytes may declare a large one.
const zstdWindowBytes = 8 << 20

func (d *decompressor) expandZstd(src []byte) error {
	if d.zstd == nil {
		var err error
		d.zstd, err = zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(uint64(max(d.limit, zstdWindowBytes))))
		if err != nil {
			return err
		}
	}
	out, err := d.zstd.DecodeAll(src, d.buf)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return d.tooLarge()
	}
	if err != nil {
		return err
	}
	if len(out) > d.limit {
		return d.tooLarge()
	}
	d.buf = out
	return nil
}
