package turn

import (
	"encoding/binary"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/pion/turn/v5"
	"golang.org/x/sys/unix"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/procstat"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/pkg/turnauth"
)

// clients is how many allocations carry the load; each is one call's direction to and fro.
const clients = 50

// BenchmarkRelayedPacket is the processor time of one packet of 172 octets (20 ms of G.711) through a TURN server over UDP, by channels,
// both ways: the media gateway's, coturn's, and a bare loop of one thread that receives and sends, on the same paths. An operation is a packet
// that got to the peer and back, so two packets; us/packet is the figure.
//
//	flock ... go test -run '^$' -bench RelayedPacket -benchtime 20000x -count 3 ./integration/scenarios/turn
func BenchmarkRelayedPacket(b *testing.B) {
	b.Run("isthmus", func(b *testing.B) {
		procs := scenario.Start(b, nil, server("--turn.quota.per_user=60000", "--turn.quota.requests=100000", "--turn.quota.bandwidth=1000000"))
		relayed(b, procs.Pid("mgw"), "127.0.0.1:3478")
	})
	b.Run("coturn", func(b *testing.B) {
		dir := b.TempDir()
		cmd := exec.Command("turnserver", "-n", "--no-tls", "--no-dtls", "--no-cli", "--no-multicast-peers", "--allow-loopback-peers", "--use-auth-secret",
			"--static-auth-secret="+secret, "--realm=isthmus", "--listening-ip=127.0.0.1", "--listening-port=3479", "--relay-ip=127.0.0.1",
			"--pidfile="+filepath.Join(dir, "pid"), "--userdb="+filepath.Join(dir, "db"), "--log-file="+filepath.Join(dir, "log"), "--simple-log")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // killed
		})
		relayed(b, cmd.Process.Pid, "127.0.0.1:3479")
	})
	b.Run("loop", func(b *testing.B) {
		in, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { in.Close() })
		raw, err := in.(*net.UDPConn).File()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { raw.Close() })
		used, stop := make(chan time.Duration), make(chan struct{})
		go loop(int(raw.Fd()), used, stop)
		var conns []net.PacketConn
		for range clients {
			conns = append(conns, socket(b))
		}
		measure(b, conns, in.LocalAddr(), 1, func() time.Duration { return <-used })
		close(stop)
	})
}

// loop sends back what comes, and tells the processor time of its thread to who asks; a wake-up every 50 ms looks whether somebody does.
func loop(fd int, used chan<- time.Duration, stop <-chan struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.SetNonblock(fd, false)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
	buf := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err == nil {
			_ = unix.Sendto(fd, buf[:n], 0, from)
			continue
		}
		var ru unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_THREAD, &ru)
		select {
		case used <- time.Duration(ru.Utime.Nano() + ru.Stime.Nano()):
		case <-stop:
			return
		default:
		}
	}
}

// relayed measures a TURN server.
func relayed(b *testing.B, pid int, server string) {
	far, err := net.ListenPacket("udp4", peer+":0") // sends everything back
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { far.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := far.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = far.WriteTo(buf[:n], from)
		}
	}()
	cred := turnauth.Issue(secret, "bench", time.Now(), time.Hour)
	var conns []net.PacketConn
	for range clients {
		c, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: server, TURNServerAddr: server, Username: cred.Username, Password: cred.Password, Realm: "isthmus", Conn: socket(b)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Close)
		if err := c.Listen(); err != nil {
			b.Fatal(err)
		}
		var relay net.PacketConn
		for range 50 { // coturn may still be starting
			if relay, err = c.Allocate(); err == nil {
				break
			}
		}
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { relay.Close() })
		conns = append(conns, relay)
	}
	// The first packets bind the channels.
	for range 3 {
		for _, c := range conns {
			exchange(b, c, far.LocalAddr(), 0)
		}
	}
	measure(b, conns, far.LocalAddr(), 2, func() time.Duration {
		used, err := procstat.CPU(pid)
		if err != nil {
			b.Fatal(err)
		}
		return used
	})
}

// measure sends b.N packets there and back, all clients in turn, one packet under way for each.
func measure(b *testing.B, conns []net.PacketConn, to net.Addr, perTrip int, used func() time.Duration) {
	before := used()
	b.ResetTimer()
	rounds := (b.N + len(conns) - 1) / len(conns)
	done := make(chan error, len(conns))
	for _, c := range conns {
		go func() {
			for i := range rounds {
				if err := trip(c, to, uint32(i)); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range conns {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64((used()-before).Nanoseconds())/1000/float64(rounds*len(conns)*perTrip), "us/packet")
}

func exchange(b *testing.B, c net.PacketConn, to net.Addr, n uint32) {
	b.Helper()
	if err := trip(c, to, n); err != nil {
		b.Fatal(err)
	}
}

// trip sends a packet and waits until it is back.
func trip(c net.PacketConn, to net.Addr, n uint32) error {
	var p, got [172]byte
	binary.BigEndian.PutUint32(p[4:], n)
	if _, err := c.WriteTo(p[:], to); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	k, _, err := c.ReadFrom(got[:])
	if err != nil {
		return err
	}
	if k != len(p) || got != p {
		return fmt.Errorf("another packet came back")
	}
	return nil
}

func socket(b *testing.B) net.PacketConn {
	b.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}
