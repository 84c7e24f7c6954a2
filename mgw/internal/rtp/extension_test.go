package rtp

import (
	"bytes"
	"testing"
)

// TestElement: the element of an id is found in both forms, beside padding, CSRCs and others; of a malformed list nothing beyond the fault is read.
func TestElement(t *testing.T) {
	packet := func(csrcs int, profile uint16, list ...byte) Packet {
		b := make([]byte, HeaderLen+4*csrcs, 100)
		PutHeader(b, Header{PT: 111, Seq: 7, TS: 9, SSRC: 5})
		b[0] |= 0x10 | byte(csrcs)
		for len(list)%4 != 0 {
			list = append(list, 0)
		}
		b = append(b, byte(profile>>8), byte(profile), 0, byte(len(list)/4))
		p, err := Parse(append(append(b, list...), "payload"...))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for name, c := range map[string]struct {
		p    Packet
		want string
	}{
		"one byte":                 {packet(0, 0xbede, 4<<4|1, 'a', 'b'), "ab"},
		"with CSRCs":               {packet(2, 0xbede, 4<<4|1, 'a', 'b'), "ab"},
		"behind another":           {packet(0, 0xbede, 1<<4, 200, 0, 0, 4<<4, 'x'), "x"},
		"two bytes":                {packet(0, 0x1000, 9, 0, 0, 4, 3, 'a', 'b', 'c'), "abc"},
		"two bytes with app bits":  {packet(1, 0x100f, 4, 1, 'z'), "z"},
		"another id":               {packet(0, 0xbede, 5<<4, 'a'), ""},
		"behind the end mark":      {packet(0, 0xbede, 15<<4, 4<<4, 'a'), ""},
		"id 0 with a length":       {packet(0, 0xbede, 2, 7, 7, 7, 4<<4, 'a'), ""}, // RFC 8285 §4.1.2: the list ends there
		"longer than the list":     {packet(0, 0xbede, 4<<4|15, 'a'), ""},
		"two bytes, longer":        {packet(0, 0x1000, 4, 200, 'a'), ""},
		"two bytes, no length":     {packet(0, 0x1000, 1, 1, 9, 4), ""},
		"of a profile of its own":  {packet(0, 0xabcd, 4<<4, 'a'), ""},
		"no list in the extension": {packet(0, 0xbede), ""},
	} {
		if got := string(c.p.Element(4)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if c.p.Element(0) != nil {
			t.Errorf("%s: id 0 is padding", name)
		}
	}
	plain := packet(1, 0xbede, 4<<4, 'a').Plain()
	if plain.Element(4) != nil {
		t.Error("an element in a packet without extension")
	}
}

// TestPutElement: what is put is found, the packet stays valid, and without it it is what it was (RFC 8285 §4.2).
func TestPutElement(t *testing.T) {
	for n := 1; n <= MaxElement; n++ {
		b := make([]byte, HeaderLen, 200)
		PutHeader(b, Header{PT: 8, Marker: true, Seq: 65535, TS: 1 << 31, SSRC: 0xdeadbeef})
		before := append(b, "the payload of it"...)
		data := bytes.Repeat([]byte{'m'}, n)
		p := Packet(bytes.Clone(before)[:len(before):len(before)])
		p = append(make(Packet, 0, 300), p...)
		p = p.PutElement(14, data)
		if len(p) != len(before)+ElementSize(n) || len(p)%4 != len(before)%4 {
			t.Fatalf("%d octets: length %d", n, len(p))
		}
		p, err := Parse(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Element(14); !bytes.Equal(got, data) {
			t.Fatalf("%d octets: %q", n, got)
		}
		if got := p.Plain(); !bytes.Equal(got, before) {
			t.Fatalf("%d octets: %x, want %x", n, got, before)
		}
	}
}

func FuzzElement(f *testing.F) {
	f.Add([]byte{0x90, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xbe, 0xde, 0, 1, 0x41, 'a', 'b', 0}, uint8(4))
	f.Add([]byte{0x90, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0x10, 0, 0, 1, 4, 2, 'a', 'b'}, uint8(4))
	f.Fuzz(func(t *testing.T, b []byte, id uint8) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		if e := p.Element(id); len(e) > len(p) {
			t.Fatal("longer than the packet")
		}
	})
}
