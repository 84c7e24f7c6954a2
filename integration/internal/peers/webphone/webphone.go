// Package webphone drives the web phone in real Chromium for tests, by its window.isthmus (mgc/web/src/hook.ts). Floor 1 of the
// integration module. Owner: Browser owns a node process with the browser below it; Close ends both.
package webphone

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Browser is one Chromium with a fresh profile. Safe for concurrent use.
type Browser struct {
	cmd     *exec.Cmd
	input   io.WriteCloser
	read    chan struct{} // closed when the output has ended
	Version string        // of Chromium

	mu      sync.Mutex            // guards what follows and writing
	next    int                   // id of the next request
	waiting map[int]chan response // capacity 1 each
	errs    []error               // uncaught errors of pages
}

type response struct {
	ID        *int            `json:"id"`
	Result    json.RawMessage `json:"result"`
	Error     string          `json:"error"`
	PageError string          `json:"pageError"`
}

// Start runs the browser. web is the folder of the web phone (mgc/web) with its npm packages; dir is private and existing: the
// profile goes there. What node prints to its error output goes to log. flags are more of Chromium's, without spaces.
func Start(ctx context.Context, web, dir string, log io.Writer, flags ...string) (*Browser, error) {
	return StartIn(ctx, nil, web, dir, log, flags...)
}

// StartIn is the like in a place that wrap leads to, such as netns.Space.Wrap.
func StartIn(ctx context.Context, wrap func(name string, args ...string) (string, []string), web, dir string, log io.Writer, flags ...string) (*Browser, error) {
	name, args := "node", []string{"test/browser/remote.mjs"}
	if wrap != nil {
		name, args = wrap(name, args...)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = web
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	if len(flags) > 0 {
		cmd.Env = append(cmd.Env, "CHROMIUM_FLAGS="+strings.Join(flags, " "))
	}
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("webphone: %w", err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("webphone: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("webphone: %w", err)
	}
	up := make(chan response, 1)
	b := &Browser{cmd: cmd, input: input, read: make(chan struct{}), next: 1, waiting: map[int]chan response{0: up}}
	go b.listen(output)
	if err := b.result(ctx, 0, up, &b.Version); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Browser) listen(output io.Reader) {
	defer close(b.read)
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var r response
		err := json.Unmarshal(lines.Bytes(), &r)
		b.mu.Lock()
		switch {
		case err != nil:
			b.errs = append(b.errs, fmt.Errorf("webphone: %w in %s", err, lines.Bytes()))
		case r.ID == nil:
			b.errs = append(b.errs, fmt.Errorf("webphone: uncaught in page %s", r.PageError))
		case b.waiting[*r.ID] != nil:
			b.waiting[*r.ID] <- r
			delete(b.waiting, *r.ID)
		}
		b.mu.Unlock()
	}
}

// Errors are the uncaught errors of all pages so far.
func (b *Browser) Errors() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.errs...)
}

// do performs one request; result may be nil.
func (b *Browser) do(ctx context.Context, op, page, fn string, result any, args ...any) error {
	answer := make(chan response, 1)
	b.mu.Lock()
	id := b.next
	b.next++
	b.waiting[id] = answer
	err := json.NewEncoder(b.input).Encode(map[string]any{"id": id, "op": op, "page": page, "fn": fn, "args": append([]any{}, args...)})
	b.mu.Unlock()
	if err == nil {
		err = b.result(ctx, id, answer, result)
	}
	if err != nil {
		return fmt.Errorf("webphone: page %s: %s %s %v: %w", page, op, fn, args, err)
	}
	return nil
}

func (b *Browser) result(ctx context.Context, id int, answer <-chan response, result any) error {
	var r response
	select {
	case r = <-answer:
	case <-b.read:
		return errors.New("the browser has ended")
	case <-ctx.Done():
		b.mu.Lock()
		delete(b.waiting, id)
		b.mu.Unlock()
		return ctx.Err()
	}
	switch {
	case r.Error != "":
		return errors.New(r.Error)
	case result == nil:
		return nil
	}
	return json.Unmarshal(r.Result, result)
}

// Close ends the browser and node.
func (b *Browser) Close() error {
	_ = b.input.Close() // asks it to end
	select {
	case <-b.read:
	case <-time.After(15 * time.Second):
		_ = b.cmd.Process.Kill()
		<-b.read
		return errors.Join(errors.New("webphone: the browser did not end"), b.cmd.Wait())
	}
	if err := b.cmd.Wait(); err != nil {
		return fmt.Errorf("webphone: %w", err)
	}
	return nil
}
