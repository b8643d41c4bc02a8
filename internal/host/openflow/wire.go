package openflow

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Version is the version byte of OpenFlow 1.4.
const Version = 5

// HeaderLen is the length of the header of every message.
const HeaderLen = 8

// errShort is what a reader reports that wanted more bytes than there are.
var errShort = errors.New("message too short")

// reader takes big-endian numbers off a slice. The first error sticks and everything
// after it reads as zero, so that a decoder asks once at its end.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.b) {
		r.err = errShort
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// sub is a reader of the next n bytes alone. It inherits an error.
func (r *reader) sub(n int) reader {
	b := r.take(n)
	return reader{b: b, err: r.err}
}

func (r *reader) skip(n int) { r.take(n) }

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// rest takes a copy of everything that is left; nil when nothing is.
func (r *reader) rest() []byte {
	if r.err != nil || len(r.b) == 0 {
		return nil
	}
	b := append([]byte(nil), r.b...)
	r.b = nil
	return b
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// The append side.
func put16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }
func put32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }
func put64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

func pad(b []byte, n int) []byte {
	for range n {
		b = append(b, 0)
	}
	return b
}

// pad8 pads what was appended since start to a multiple of eight bytes.
func pad8(b []byte, start int) []byte { return pad(b, padding(len(b)-start)) }

// padding is how many bytes n lacks to a multiple of eight.
func padding(n int) int { return -n & 7 }

// setLen writes the length of what was appended since start into the 16 bits at start+ofs.
func setLen(b []byte, start, ofs int) {
	binary.BigEndian.PutUint16(b[start+ofs:], uint16(len(b)-start))
}

// Value is up to 128 bits of a field, right-aligned in Hi:Lo.
type Value struct{ Hi, Lo uint64 }

// appendTo writes the low n bytes, most significant first.
func (v Value) appendTo(b []byte, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		if i >= 8 {
			b = append(b, byte(v.Hi>>(8*(i-8))))
		} else {
			b = append(b, byte(v.Lo>>(8*i)))
		}
	}
	return b
}

func valueOf(b []byte) Value {
	var v Value
	for _, o := range b {
		v.Hi = v.Hi<<8 | v.Lo>>56
		v.Lo = v.Lo<<8 | uint64(o)
	}
	return v
}

// ones is a value with the low n bits set.
func ones(n int) Value {
	switch {
	case n >= 128:
		return Value{^uint64(0), ^uint64(0)}
	case n > 64:
		return Value{1<<(n-64) - 1, ^uint64(0)}
	case n == 64:
		return Value{0, ^uint64(0)}
	}
	return Value{0, 1<<n - 1}
}

func (v Value) and(w Value) Value { return Value{v.Hi & w.Hi, v.Lo & w.Lo} }
