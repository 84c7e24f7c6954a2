package cdr

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// victimDir names the directory that a child of the test writes into until it is killed.
const victimDir = "ISTHMUS_CDR_VICTIM"

// TestCHG01_KilledWriterLosesNothingThatItSaidIsKept kills a writing process at any moment, several times over: each record that it said is
// kept is there once, and what a successor writes again is left out.
func TestCHG01_KilledWriterLosesNothingThatItSaidIsKept(t *testing.T) {
	if dir := os.Getenv(victimDir); dir != "" {
		victim(t, dir)
		return
	}
	dir := t.TempDir()
	said := map[string]bool{}
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCHG01_KilledWriterLosesNothingThatItSaidIsKept$")
		cmd.Env = append(os.Environ(), victimDir+"="+dir, "ROUND="+strconv.Itoa(round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		watch := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		in := bufio.NewScanner(out)
		for n := 0; in.Scan(); {
			if id, ok := strings.CutPrefix(in.Text(), "kept "); ok {
				said[id] = true
				if n++; n == 100+37*round {
					_ = cmd.Process.Kill() // SIGKILL; more lines may be in the pipe
				}
			}
		}
		watch.Stop()
		_ = cmd.Wait() // killed
	}
	w := mustOpen(t, testConfig(t, dir, "--size=4096", "--linger=0s"), nil)
	for id := range said {
		call, _, _ := strings.Cut(id, ".")
		put(t, w, rec(call, 1, Event)) // a successor writes it again
	}
	mustClose(t, w)
	got, found := ids(t, dir)
	there := map[string]bool{}
	for _, g := range got {
		id, _, _ := strings.Cut(g, ":")
		there[id] = true
	}
	for id := range said {
		if !there[id] {
			t.Errorf("%s is lost", id)
		}
	}
	if len(said) < 500 || found.Damaged+found.Torn+found.Duplicates != 0 || !reflect.DeepEqual(len(there), len(got)) {
		t.Errorf("%d said, %d there, %+v", len(said), len(got), found)
	}
}

// victim writes records until it is killed.
func victim(t *testing.T, dir string) {
	w := mustOpen(t, testConfig(t, dir, "--size=4096", "--linger=0s"), nil)
	deadline := time.Now().Add(20 * time.Second)
	for n := 0; time.Now().Before(deadline); n++ {
		r := rec(fmt.Sprintf("%s-%d", os.Getenv("ROUND"), n), 1, Event)
		r.Reason = strings.Repeat("x", n%700)
		put(t, w, r)
		fmt.Println("kept " + r.name())
	}
}
