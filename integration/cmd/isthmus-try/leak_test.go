package main

import (
	"slices"
	"testing"
)

// TestLeaksAreNamed: what grew, what is new, and what a call left is told; what shrank is not.
func TestLeaksAreNamed(t *testing.T) {
	before := held{"mgc goroutines": 40, "mgw goroutines": 20, "store reg": 1, "mgc server transactions": 3}
	same := held{"mgc goroutines": 39, "mgw goroutines": 20, "store reg": 1, "mgc server transactions": 0, "store call": 0}
	if over := same.over(before); len(over) != 0 {
		t.Errorf("no leak, yet %q", over)
	}
	leaked := held{"mgc goroutines": 41, "mgw goroutines": 21, "store reg": 2, "store new": 1, "mgc server transactions": 3, "store call": 1}
	want := []string{"mgc goroutines 41, was 40", "mgc server transactions 3, want 0", "mgw goroutines 21, was 20", "store call 1, want 0",
		"store new 1, was not there", "store reg 2, was 1"}
	if over := leaked.over(before); !slices.Equal(over, want) {
		t.Errorf("got %q", over)
	}
	if over := leaked.over(nil); !slices.Equal(over, []string{"mgc server transactions 3, want 0", "store call 1, want 0"}) {
		t.Errorf("without limit: %q", over)
	}
}
