package ims

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
)

// parallel is how many scenarios run at once: most of their time is spent waiting.
const parallel = 5

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(parallel)); err != nil {
		fmt.Fprintln(os.Stderr, "ims:", err)
		os.Exit(1)
	}
	os.Exit(netns.Main(m))
}

// scenario is one sub-test. It gets a registered browser user of its own.
type scenario struct {
	name string
	run  func(*party)
}

// scenarios in the order of their start: those that wait long come first.
var scenarios = []scenario{
	{"MO10_MO11_MO12_PRE02_R3262_2_R3311_R3312_R5009_BrowserCallsWithPreconditions", originating},
	{"MT04_MT05_MT06_MT07_PRE04_R3262_1_VoLTECallsWithPreconditions", terminating},
	{"REG14_REG16_REG17_REG18_REG22_REG23_MO02_MO06_R3327_R3608_R5627_RegisteredAsIMS", registered},
	{"REG25_REL03_R3680_R3326_DeregisteredByTheNetwork", deregistered},
}

func TestIMS(t *testing.T) {
	w := newWorld(t)
	t.Run("scenarios", func(t *testing.T) { // ends when all that are parallel in it have
		for i, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				w.play(t, i, s.run)
			})
		}
	})
	t.Run("NothingIsLeft", w.nothingLeft)
	t.Run("PRE09_ARC03_WhatMayNotCross", w.border)
}

// limit bounds one scenario; the longest waits for a session timer of 90 s to run out.
const limit = 40 * time.Second
