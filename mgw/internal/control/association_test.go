package control

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// associate runs an association with the controllers until the test ends.
func associate(t *testing.T, pools ...string) (*Association, *atomic.Bool) {
	t.Helper()
	var draining atomic.Bool
	a, err := NewAssociation(AssociationConfig{
		MGWID: "mgw", BootID: "boot-1", Address: "127.0.0.1:7420", Pool: pools, Capabilities: func() *iqv1.Capabilities { return &iqv1.Capabilities{ProfileVersion: 1} },
		Credentials: plaintext(t).Client, Contexts: func() int { return 3 }, Packets: func() uint64 { return 0 },
		Draining: draining.Load, RetryFirst: 20 * time.Millisecond, RetryMax: 100 * time.Millisecond, CallTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a, &draining
}

func TestRegistersColdAndSendsHeartbeats(t *testing.T) {
	p := newFakePool(t)
	a, draining := associate(t, p.address)
	draining.Store(true)
	wait.Until(t, "heartbeats", func() bool { _, beats, _ := p.count(); return beats >= 3 })
	if got := p.methods(); len(got) != 1 || got[0] != "METHOD_RESTART 901" {
		t.Errorf("service changes: %v", got)
	}
	p.mu.Lock()
	r, b := p.changes[0], p.beats[2]
	p.mu.Unlock()
	if r.Address != "127.0.0.1:7420" || r.MgwId != "mgw" || r.BootId != "boot-1" || r.Capabilities == nil || r.LiveContexts != 3 {
		t.Errorf("registration: %v", r)
	}
	if b.MgwId != "mgw" || b.BootId != "boot-1" || b.Contexts != 3 || !b.Draining || b.CpuPermille > 1100 {
		t.Errorf("heartbeat: %v", b)
	}
	if !a.Linked() || a.Ready("") != nil {
		t.Error("registered, but not ready")
	}
}

func TestNotReadyBeforeRegistration(t *testing.T) {
	p := newFakePool(t)
	p.stop()
	a, _ := associate(t, p.address)
	if err := a.Ready(""); err == nil || err.Code != 505 {
		t.Errorf("before registration: %v", err)
	}
	p.start()
	wait.Until(t, "registration once the pool is there", func() bool { return a.Ready("") == nil })
	a.Refuse()
	if err := a.Ready("boot-1"); err == nil || err.Code != 503 {
		t.Errorf("while stopping: %v", err)
	}
}

func TestTransactionBeforeTheReplyOfRegistration(t *testing.T) {
	a := &Association{cfg: AssociationConfig{BootID: "boot-1", MGWID: "mgw"}}
	a.setInProgress(true)
	if a.Ready("boot-1") != nil {
		t.Error("the pool knows our boot_id, so it has accepted the registration")
	}
	if a.Ready("") == nil {
		t.Error("accepted without proof")
	}
}

func TestReRegistersWhenThePoolForgot(t *testing.T) {
	p := newFakePool(t)
	associate(t, p.address)
	wait.Until(t, "the first heartbeat", func() bool { _, beats, _ := p.count(); return beats >= 1 })
	p.mu.Lock()
	p.reRegister = true
	p.mu.Unlock()
	wait.Until(t, "the second registration", func() bool { return len(p.methods()) >= 2 })
	if got := p.methods()[1]; got != "METHOD_RESTART 902" {
		t.Errorf("second registration: %v", got)
	}
}

func TestControllerRestart(t *testing.T) {
	p := newFakePool(t)
	a, _ := associate(t, p.address)
	wait.Until(t, "the first heartbeat", func() bool { _, beats, _ := p.count(); return beats >= 1 })
	p.stop()
	wait.Until(t, "loss of the link", func() bool { return !a.Linked() })
	if a.Ready("") != nil {
		t.Error("transactions are refused while the link is lost")
	}
	p.start()
	wait.Until(t, "the link again", a.Linked)
	got := p.methods()
	if last := got[len(got)-1]; last != "METHOD_DISCONNECTED 900" {
		t.Errorf("service changes: %v", got)
	}
}

func TestDisconnectedRefusedFallsBackToRestart(t *testing.T) {
	p := newFakePool(t)
	a, _ := associate(t, p.address)
	wait.Until(t, "the first heartbeat", func() bool { _, beats, _ := p.count(); return beats >= 1 })
	p.stop()
	wait.Until(t, "loss of the link", func() bool { return !a.Linked() })
	p.refuse[iqv1.ServiceChangeRequest_METHOD_DISCONNECTED] = true
	p.start()
	wait.Until(t, "the link again", a.Linked)
	got := p.methods()
	if !slices.Contains(got, "METHOD_DISCONNECTED 900") || got[len(got)-1] != "METHOD_RESTART 902" {
		t.Errorf("service changes: %v", got)
	}
}

func TestSecondControllerTakesOver(t *testing.T) {
	one, two := newFakePool(t), newFakePool(t)
	a, _ := associate(t, one.address, two.address)
	wait.Until(t, "the first heartbeat", func() bool { _, beats, _ := one.count(); return beats >= 1 })
	one.stop()
	verdict, err := a.Notify(t.Context(), &iqv1.NotifyRequest{ContextId: "cx", EventSeq: 1})
	if err != nil || verdict != iqv1.NotifyReply_VERDICT_ACK {
		t.Fatalf("notify: %v %v", verdict, err)
	}
	wait.Until(t, "registration with the second", func() bool { _, beats, _ := two.count(); return beats >= 1 })
	if got := two.methods(); got[0] != "METHOD_DISCONNECTED 900" {
		t.Errorf("service changes: %v", got)
	}
	one.start()
	if _, err := a.Notify(t.Context(), &iqv1.NotifyRequest{ContextId: "cx", EventSeq: 2}); err != nil {
		t.Fatal(err)
	}
	if _, _, notes := two.count(); notes != 2 {
		t.Errorf("the second got %d notifies, want both", notes)
	}
}

func TestNotifyWithoutPoolIsAnError(t *testing.T) {
	p := newFakePool(t)
	p.stop()
	a, _ := associate(t, p.address)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := a.Notify(ctx, &iqv1.NotifyRequest{}); err == nil {
		t.Fatal("no error")
	}
	p.start()
}

func TestAnnounce(t *testing.T) {
	p := newFakePool(t)
	a, _ := associate(t, p.address)
	wait.Until(t, "registration", a.Linked)
	if err := a.Announce(t.Context(), iqv1.ServiceChangeRequest_METHOD_GRACEFUL, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := p.methods(); got[len(got)-1] != "METHOD_GRACEFUL 905" {
		t.Errorf("service changes: %v", got)
	}
	p.mu.Lock()
	p.refuse[iqv1.ServiceChangeRequest_METHOD_FORCED] = true
	p.mu.Unlock()
	if err := a.Announce(t.Context(), iqv1.ServiceChangeRequest_METHOD_FORCED, 0); err == nil {
		t.Error("a refusal is no error")
	}
}

// TestIQ32_AnOldControllerIsNotToldOfAnInterface: a controller of profile version 1 takes FORCED for the gateway's death, whatever the message is about,
// so it gets none; one that replaces it in the same place does with the next heartbeat, and the reverse.
func TestIQ32_AnOldControllerIsNotToldOfAnInterface(t *testing.T) {
	p := newFakePool(t)
	a, _ := associate(t, p.address)
	wait.Until(t, "registration", a.Linked)
	speak := func(profile uint32) {
		t.Helper()
		p.mu.Lock()
		p.profile = profile
		p.mu.Unlock()
		_, before, _ := p.count()
		wait.Until(t, "two heartbeats", func() bool { _, beats, _ := p.count(); return beats > before+1 })
	}
	tell := func(want ...string) {
		t.Helper()
		before := len(p.methods())
		for _, serves := range []bool{false, true} {
			if err := a.Interface(t.Context(), "eth1", []string{"core"}, serves); err != nil {
				t.Error(err)
			}
		}
		if got := p.methods()[before:]; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	tell()
	speak(2)
	tell("METHOD_FORCED 906", "METHOD_RESTART 900")
	speak(0)
	tell()
}

func TestLoadMeter(t *testing.T) {
	var packets uint64
	ticks := "7 (a b) c) S 1 1 1 0 -1 0 0 0 0 0 100 50 0 0 20"
	m := &loadMeter{packets: func() uint64 { return packets }, cores: 4, stat: func() ([]byte, error) { return []byte(ticks), nil }}
	start := time.Now()
	m.sample(start)
	ticks, packets = "7 (a b) c) S 1 1 1 0 -1 0 0 0 0 0 150 100 0 0 20", 5000
	permille, pps := m.sample(start.Add(10 * time.Second))
	if pps != 500 || permille != 25 { // 1 s of CPU in 10 s of 4 cores
		t.Errorf("%d permille, %d packets per second", permille, pps)
	}
	if p, r := m.sample(start.Add(10*time.Second + time.Millisecond)); p != permille || r != pps {
		t.Error("a sample at once is not the former one")
	}
	if _, ok := cpuTime([]byte("garbage")); ok {
		t.Error("garbage was read")
	}
}

// meterChild makes the test binary tell how many cores a load meter goes by.
const meterChild = "CONTROL_TEST_METER"

// A gateway that may use other than all cores, as in a container with a CPU quota, is at its limit when it uses those.
func TestLoadIsOfTheCoresThatTheProcessMayUse(t *testing.T) {
	if os.Getenv(meterChild) != "" {
		fmt.Println("cores", newLoadMeter(func() uint64 { return 0 }).cores)
		return
	}
	may := runtime.NumCPU() + 1 // as a quota: Go reads both alike
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), meterChild+"=1", fmt.Sprintf("GOMAXPROCS=%d", may))
	if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), fmt.Sprintf("cores %d\n", may)) {
		t.Errorf("it goes by other than %d cores (%v): %q", may, err, out)
	}
}
