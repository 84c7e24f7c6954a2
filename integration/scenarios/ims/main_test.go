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

// parallel is how many scenarios run at once beside those that mostly wait.
const parallel = 2

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(len(scenarios))); err != nil { // TestIMS bounds them
		fmt.Fprintln(os.Stderr, "ims:", err)
		os.Exit(1)
	}
	os.Exit(netns.Main(m))
}

// scene is one sub-test. It gets a registered browser user of its own.
type scene struct {
	name string
	run  func(*party)
	long bool // waits for a timer of the protocol most of its time: runs beside all others
}

var scenarios = []scene{
	{name: "REL04_R4028_CallerNeverRefreshes", run: neverRefreshed, long: true},
	{name: "MO13_R4028_GatewayRefreshesByUPDATE", run: refreshed, long: true},
	{name: "R3262_1_LostPRACK", run: neverAcknowledged, long: true},
	{name: "PRE07_PreconditionsNeverMet", run: neverReserved, long: true},
	{name: "MO10_MO11_MO12_PRE02_R3262_2_R3311_R3312_R5009_BrowserCallsWithPreconditions", run: originating},
	{name: "MT01_MT04_MT05_MT06_MT07_PRE04_R3262_1_R3311_R3312_R4028_VoLTECallsWithPreconditions", run: terminating},
	{name: "PRE05_CallerHasReserved", run: reserved},
	{name: "REG14_REG16_REG17_REG18_REG22_REG23_MO02_MO06_R3327_R3608_R5627_RegisteredAsIMS", run: registered},
	{name: "REG25_REL03_R3680_R3326_DeregisteredByTheNetwork", run: deregistered},
	{name: "REG05_REG07_REG10_REG11_BrowserWithAToken", run: withToken},
	{name: "REG08_TokenOfSomebodyElse", run: otherToken},
	{name: "REG06_REG12_TokenEnds", run: tokenEnds},
	{name: "MO14_R3262_2_R5009_ThreeForks", run: forked},
	{name: "MO19_LateOffer", run: lateOffer},
	{name: "MO19_R3262_1_LateOfferInReliableResponse", run: lateOfferReliable},
	{name: "MO18_R3311_HoldByUPDATE", run: heldByUpdate},
	{name: "MO17_R3261_14_Glare", run: glare},
	{name: "MO13_R4028_422", run: tooShort},
	{name: "MO15_Redirected302", run: redirected},
	{name: "MO15_R3326_ReasonsAreKept", run: reasons},
	{name: "R3515_BlindTransferByTheBrowser", run: blindByBrowser},
	{name: "R3515_BlindTransferFails", run: blindFails},
	{name: "R3515_BlindTransferByTheFarEnd", run: blindByFarEnd},
	{name: "R3891_R5589_AttendedTransferByTheBrowser", run: attendedByBrowser},
	{name: "R3891_R5589_AttendedTransferByTheFarEnd", run: attendedByFarEnd},
	{name: "R3891_ThirdPartyReplacesTheBrowsersCall", run: replacedByThirdParty},
}

func TestIMS(t *testing.T) {
	w := newWorld(t)
	turn := make(chan struct{}, parallel)
	t.Run("scenarios", func(t *testing.T) { // ends when all that are parallel in it have
		for i, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				if !s.long {
					turn <- struct{}{}
					defer func() { <-turn }()
				}
				w.play(t, i, s.run)
			})
		}
	})
	t.Run("NothingIsLeft", w.nothingLeft)
	t.Run("PRE09_ARC03_WhatMayNotCross", w.border)
}

// limit bounds one scenario; the longest waits for a session timer of 90 s to run out.
const limit = 150 * time.Second

// t1 is the gateway's round-trip estimate: with it, 64 of it, after which a PRACK is given up, are less than the 30 s for which it
// waits for preconditions.
const t1 = 400 * time.Millisecond
