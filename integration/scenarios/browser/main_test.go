package browser

import (
	"os"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
)

func TestMain(m *testing.M) { os.Exit(netns.Main(m)) }

// scene is one sub-test; it gets a registered alice and leaves no call behind.
type scene struct {
	name string
	run  func(*party)
}

// everyMode runs with G.711 relayed and with Opus transcoded.
var everyMode = []scene{
	{"REG01_REG14_DigestAndPathThroughKamailio", registered},
	{"ARC01_R5764_BrowserCallsBothHearBrowserHangsUp", browserCalls},
	{"MT01_BaresipCallsBothHearBaresipHangsUp", baresipCalls},
	{"MO18_HoldAndResumeByBrowser", holdByBrowser},
	{"MO18_HoldAndResumeByBaresip", holdByBaresip},
	{"R4733_DigitsToBaresip", digitsToBaresip},
	{"R4733_DigitsToBrowser", digitsToBrowser},
	{"InviteToAudio", inviteToAudio},
}

// amrMode runs with Opus at the browser and AMR at baresip.
var amrMode = []scene{
	{"ARC05_BrowserCallsBothHearBrowserHangsUp", browserCalls},
	{"ARC05_BaresipCallsBothHearBaresipHangsUp", baresipCalls},
	{"MO18_HoldAndResumeByBrowser", holdByBrowser},
	{"MO18_HoldAndResumeByBaresip", holdByBaresip},
	{"R4733_DigitsToBaresip", digitsToBaresip},
	{"R4733_DigitsToBrowser", digitsToBrowser},
	{"InviteToAudio", inviteToAudio},
}

// g722Mode runs with G.722 at baresip: relayed to a browser that has it too, and with Opus at the browser.
var g722Mode = []scene{
	{"IQ18_BrowserCallsBothHearBrowserHangsUp", browserCalls},
	{"IQ18_BaresipCallsBothHearBaresipHangsUp", baresipCalls},
	{"MO18_HoldAndResumeByBrowser", holdByBrowser},
}

// oneMode runs with G.711 relayed only: what it is about does not depend on the codec.
var oneMode = []scene{
	{"MO15_CancelByBrowser", cancelByBrowser},
	{"MO15_CancelByBaresip", cancelByBaresip},
	{"MO15_BaresipIsBusy", baresipBusy},
	{"MT10_BrowserRejects", browserRejects},
	{"MO15_NobodyAnswers", nobodyAnswers},
	{"MO15_UnknownUser", unknownUser},
	{"MO16_MessagesBothWays", messages},
	{"MO_CallIsChallenged", callChallenged},
	{"TwoCallsAtOnce", twoCalls},
	{"R8445_3_ICERestart", iceRestart},
	{"R8445_3_PathDies", pathDies},
	{"R8445_3_NetworkChanges", networkChanges},
	{"R6544_IQ16_NoUDP", noUDP},
	{"REG20_PageReload", pageReload},
	{"REG20_SignInAgain", signInAgain},
	{"REG22_RefreshedByTimer", refreshed},
	{"REG01_WrongPassword", wrongPassword},
	{"REG27_SignOut", signOut},
}

// turnMode runs with a TURN server; what a network lets through changes from one to the next.
var turnMode = []scene{
	{"R8656_UDPIsOpenTheCallGoesDirectly", turnNotNeeded},
	{"R8656_UDPIsBlockedTheCallIsRelayedOverTCP", turnOverTCP},
	{"R8656_OnlyTLSPassesTheCallIsRelayedOverTLS", turnOverTLS},
	{"ARC09_CredentialsAreNotShown", credentialsHidden},
}

// infoMode runs with keys that go to the core by INFO.
var infoMode = []scene{
	{"R4733_DigitsToBaresipByInfo", digitsByInfo},
	{"R4733_DigitsToBrowserByInfo", infoToBrowser},
}

// fullMode runs with a media gateway that does full ICE, in both roles: the offerer controls.
var fullMode = []scene{
	{"IQ24_R8445_1_BrowserCallsTheGatewayIsControlled", browserCalls},
	{"IQ24_R8445_1_BrowserIsCalledTheGatewayControls", baresipCalls},
	{"IQ24_AgentIsFull", agentIsFull},
	{"IQ24_R8445_3_ICERestart", iceRestart},
}

func TestBrowserToBaresip(t *testing.T) {
	w := newWorld(t)
	for _, mode := range []string{"relay", "opus", "amrwb", "amr", "g722", "opus-g722", "info", "turn", "full"} {
		t.Run(mode, func(t *testing.T) {
			g := w.startGateway(t, mode)
			run := everyMode
			switch mode {
			case "relay":
				run = append(run[:len(run):len(run)], oneMode...)
			case "amrwb":
				run = amrMode
			case "amr":
				run = amrMode[:2]
			case "g722", "opus-g722":
				run = g722Mode
			case "info":
				run = infoMode
			case "turn":
				run = turnMode
			case "full":
				run = fullMode
			}
			for _, s := range run {
				t.Run(s.name, func(t *testing.T) { g.play(t, s.run) })
			}
			t.Run("NothingIsLeft", g.nothingLeft)
		})
	}
	t.Run("ARC03_ARC04_NothingOfWebRTCReachesTheCore", w.coreIsPlain)
}

// limit bounds one scenario; the slowest takes 7 s on an idle machine, 5 of them waiting for a refresh timer.
const limit = 90 * time.Second
