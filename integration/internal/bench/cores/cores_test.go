package cores

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// allowed is the list of cores of a thread, as the kernel prints it.
func allowed(t *testing.T, task string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(task, "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "Cpus_allowed_list:")
	list, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(list)
}

func halves(t *testing.T) (system, generator Set) {
	system, generator, err := Halves()
	if errors.Is(err, ErrFew) {
		t.Skip("one core")
	}
	if err != nil {
		t.Fatal(err)
	}
	if system.Count() != 1 || generator.Count() != 1 || system == generator {
		t.Fatalf("%v and %v", system, generator)
	}
	return system, generator
}

// TestMain sleeps with several threads when it is the child of a test.
func TestMain(m *testing.M) {
	if os.Getenv("CORES_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	for range 4 {
		go func() {
			runtime.LockOSThread()
			select {}
		}()
	}
	fmt.Println("up")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestAProcessIsConfinedWithAllItsThreads(t *testing.T) {
	system, _ := halves(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "CORES_TEST_CHILD=1")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = child.Wait() }()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := Confine(child.Process.Pid, &system); err != nil {
		t.Fatal(err)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", child.Process.Pid))
	if err != nil || len(tasks) < 4 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, task := range tasks {
		if got := allowed(t, task); strings.ContainsAny(got, ",-") {
			t.Errorf("%s: cores %s", task, got)
		}
	}
	if err := Confine(1<<30, &system); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such process: %v", err)
	}
}

func TestAThreadStaysAndIsFreedAgain(t *testing.T) {
	system, _ := halves(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	self := filepath.Join("/proc/self/task", strconv.Itoa(unix.Gettid()))
	before := allowed(t, self)
	undo, err := Stay(&system)
	if err != nil {
		t.Fatal(err)
	}
	if got := allowed(t, self); got == before || strings.ContainsAny(got, ",-") {
		t.Errorf("cores %s, before %s", got, before)
	}
	undo()
	if got := allowed(t, self); got != before {
		t.Errorf("cores %s, before %s", got, before)
	}
}
