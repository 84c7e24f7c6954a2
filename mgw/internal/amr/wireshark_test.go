package amr

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/wireshark.txt anew with tshark; review the difference")

// wiresharkFile holds payloads and what Wireshark 4.0 reads in them: format, payload, codec mode request, and of each frame its type, Q and F.
const wiresharkFile = "testdata/wireshark.txt"

// What we build is read by a foreign dissector as it was meant, in both packings: requests, frame types, quality bits and the chain of F bits,
// with every frame type, up to twelve in a packet. The transcript was recorded; -update records it anew.
func TestR4867_ReadByWireshark(t *testing.T) {
	payloads, want := map[Format][][]byte{}, []string{}
	for _, f := range formats {
		for _, p := range wiresharkPackets(f) {
			out := make([]byte, MaxPayload)
			n, err := p.Build(f, out)
			if err != nil {
				t.Fatal(err)
			}
			payloads[f] = append(payloads[f], out[:n])
			want = append(want, transcriptLine(f, out[:n], &p))
		}
	}
	if *update {
		var lines []string
		for _, f := range formats {
			lines = append(lines, askWireshark(t, f, payloads[f])...)
		}
		if err := os.WriteFile(wiresharkFile, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Open(wiresharkFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	i := 0
	for in := bufio.NewScanner(file); in.Scan(); i++ {
		if i >= len(want) || in.Text() != want[i] {
			t.Fatalf("packet %d: Wireshark reads\n%s\nwe meant\n%s", i, in.Text(), want[min(i, len(want)-1)])
		}
	}
	if i != len(want) {
		t.Errorf("%d packets recorded, %d built", i, len(want))
	}
}

// wiresharkPackets are packets with every frame type alone, and some with several frames.
func wiresharkPackets(f Format) []Packet {
	r := rand.New(rand.NewPCG(7, uint64(f.Codec)))
	fts := []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, NoData}
	if f.Codec == Wide {
		fts = []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, SpeechLost, NoData}
	}
	frame := func(ft uint8) []byte {
		b := make([]byte, FrameSize)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		b[0] = ft<<3 | byte(r.UintN(2))<<2
		return b
	}
	var out []Packet
	add := func(cmr uint8, list ...uint8) {
		var p Packet
		p.Reset(f.Codec, cmr)
		for _, ft := range list {
			if p.Add(frame(ft)) != nil {
				panic(ft)
			}
		}
		out = append(out, p)
	}
	for _, ft := range fts {
		add(uint8(r.UintN(8)), ft)
	}
	for n := 2; n <= MaxFrames; n++ {
		list := make([]uint8, n)
		for i := range list {
			list[i] = fts[r.IntN(len(fts))]
		}
		add(NoRequest, list...)
	}
	return out
}

func nameOf(f Format) string {
	codec, packing := "AMR", "bandwidth-efficient"
	if f.Codec == Wide {
		codec = "AMR-WB"
	}
	if f.OctetAligned {
		packing = "octet-aligned"
	}
	return codec + " " + packing
}

func transcriptLine(f Format, payload []byte, p *Packet) string {
	line := fmt.Sprintf("%s %x cmr=%d", nameOf(f), payload, p.CMR)
	for i := range p.Len() {
		q := 0
		if p.Good(i) {
			q = 1
		}
		more := 0
		if i+1 < p.Len() {
			more = 1
		}
		line += fmt.Sprintf(" %d/%d/%d", p.FT(i), q, more)
	}
	return line
}

// askWireshark has tshark read payloads as RTP.
func askWireshark(t *testing.T, f Format, payloads [][]byte) []string {
	t.Helper()
	pcap := []byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0} // raw IP
	for i, p := range payloads {
		n := 20 + 8 + 12 + len(p)
		ip := []byte{0x45, 0, byte(n >> 8), byte(n), 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
		udp := []byte{0x13, 0x88, 0x13, 0x88, byte((n - 20) >> 8), byte(n - 20), 0, 0}
		rtp := []byte{0x80, 96, 0, byte(i), 0, 0, 0, 0, 0, 0, 0, 1}
		head := make([]byte, 16)
		binary.LittleEndian.PutUint32(head, uint32(i))
		binary.LittleEndian.PutUint32(head[8:], uint32(n))
		binary.LittleEndian.PutUint32(head[12:], uint32(n))
		for _, part := range [][]byte{head, ip, udp, rtp, p} {
			pcap = append(pcap, part...)
		}
	}
	name := filepath.Join(t.TempDir(), "amr.pcap")
	if err := os.WriteFile(name, pcap, 0o600); err != nil {
		t.Fatal(err)
	}
	mode, version, key := "Narrowband AMR", "RFC 3267 BW-efficient", "nb"
	if f.Codec == Wide {
		mode, key = "Wideband AMR", "wb"
	}
	if f.OctetAligned {
		version = "RFC 3267 octet aligned"
	}
	out, err := exec.Command("tshark", "-r", name, "-d", "udp.port==5000,rtp", "-d", "rtp.pt==96,amr", "-o", "amr.mode:"+mode, "-o", "amr.encoding.version:"+version,
		"-T", "fields", "-e", "rtp.payload", "-e", "amr."+key+".cmr", "-e", "amr."+key+".toc.ft", "-e", "amr.toc.q", "-e", "amr.toc.f", "-e", "_ws.expert.message").Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, out)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		c := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(c) < 5 || !strings.HasPrefix(strings.ReplaceAll(c[0], ":", ""), hex.EncodeToString(payloads[min(len(lines), len(payloads)-1)])) {
			t.Fatalf("tshark says %q", line)
		}
		text := fmt.Sprintf("%s %s cmr=%s", nameOf(f), strings.ReplaceAll(c[0], ":", ""), c[1])
		fts, qs, fs := strings.Split(c[2], ","), strings.Split(c[3], ","), strings.Split(c[4], ",")
		for i := range fts {
			text += fmt.Sprintf(" %s/%s/%s", fts[i], qs[i], fs[i])
		}
		lines = append(lines, text)
	}
	return lines
}
