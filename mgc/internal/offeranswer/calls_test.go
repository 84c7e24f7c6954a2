package offeranswer

import "testing"

// TestARC03_ARC04_EveryOffer: what crosses of each browser's and library's offer, and the answer that it gets.
func TestARC03_ARC04_EveryOffer(t *testing.T) {
	for _, file := range []string{
		"chromium_audio_offer", "chromium_av_dc_offer", "chromium_max_bundle_offer", "chromium_max_compat_offer", "chromium_video_first_offer", "jssip_offer", "sipjs_offer",
		"firefox_offer", "firefox_sdparta_offer", "firefox_av_dc_offer", "safari_offer",
	} {
		for _, prefer := range []Preference{PreferRelay, PreferOpus} {
			t.Run(file+"_"+string(prefer), func(t *testing.T) {
				play(t, "call_"+file+"_"+string(prefer), prefer, "browser offers "+file, "phone answers 8,101")
			})
		}
	}
}

// TestARC03_ARC04_EveryAnswer: what crosses of each browser's and library's answer.
func TestARC03_ARC04_EveryAnswer(t *testing.T) {
	for _, file := range []string{"chromium_answer", "chrome_answer", "firefox_answer", "safari_answer", "sipjs_passive_answer"} {
		for _, prefer := range []Preference{PreferRelay, PreferOpus} {
			t.Run(file+"_"+string(prefer), func(t *testing.T) {
				play(t, "called_"+file+"_"+string(prefer), prefer, "phone offers 8,0,101", "browser answers "+file)
			})
		}
	}
}

// TestMO18_RFC3264_8_4_Hold: hold and resume by each side in every form.
func TestMO18_RFC3264_8_4_Hold(t *testing.T) {
	call := []string{"browser offers jssip_offer", "phone answers 8,101"}
	for name, steps := range map[string][]string{
		"browser_sendonly": {"browser offers again dir=sendonly", "phone answers 8,101 dir=recvonly", "browser offers again", "phone answers 8,101"},
		"browser_inactive": {"browser offers again dir=inactive", "phone answers 8,101 dir=inactive", "browser offers again", "phone answers 8,101"},
		"phone_sendonly":   {"phone offers 8,101 dir=sendonly", "browser answers again dir=recvonly setup=active", "phone offers 8,101", "browser answers again setup=active"},
		"phone_inactive":   {"phone offers 8,101 dir=inactive", "browser answers again dir=inactive setup=active", "phone offers 8,101", "browser answers again setup=active"},
		"phone_c0000":      {"phone offers 8,101 c=0.0.0.0", "browser answers again dir=recvonly setup=active", "phone offers 8,101", "browser answers again setup=active"},
		"both": {
			"browser offers again dir=sendonly", "phone answers 8,101 dir=recvonly",
			"phone offers 8,101 dir=sendonly", "browser answers again dir=inactive setup=active",
			"browser offers again", "phone answers 8,101 dir=sendonly",
			"phone offers 8,101", "browser answers again setup=active",
		},
		"refused": {"browser offers again dir=sendonly", "phone refuses", "browser offers again dir=sendonly", "phone answers 8,101 dir=recvonly"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, "hold_"+name, PreferRelay, append(append([]string{}, call...), steps...)...)
		})
	}
	t.Run("core_called", func(t *testing.T) {
		play(t, "hold_core_called", PreferOpus, "phone offers 8,0,96", "browser answers chromium_answer",
			"browser offers again dir=sendonly setup=actpass", "phone answers 8,96 dir=recvonly",
			"browser offers again setup=actpass", "phone answers 8,96",
			"phone offers 8,96 dir=sendonly", "browser answers again dir=recvonly",
			"phone offers 8,96", "browser answers again")
	})
}

// TestR8445_3_Restart: new credentials, alone, together with hold, and with a new DTLS association.
func TestR8445_3_Restart(t *testing.T) {
	play(t, "restart", PreferRelay, "browser offers chromium_audio_offer", "phone answers 8,101",
		"browser offers again ufrag=new1",
		"browser offers again ufrag=new2 dir=sendonly", "phone answers 8,101 dir=recvonly",
		"browser offers again ufrag=new3 print=5C", "phone answers 8,101",
		"phone offers 8,101 dir=sendonly", "browser answers again ufrag=new3 print=5C setup=active dir=recvonly")
	play(t, "restart_tls_id", PreferRelay, "browser offers chromium_audio_offer tls-id=abcdefghijklmnopqrst", "phone answers 8,101",
		"browser offers again tls-id=abcdefghijklmnopqrst", "browser offers again tls-id=tsrqponmlkjihgfedcba print=5C ufrag=new1")
}

// TestR8829_Lines: m= lines that come, are rejected, are stopped and used again.
func TestR8829_Lines(t *testing.T) {
	for name, steps := range map[string][]string{
		"video_added":        {"browser offers jssip_offer", "phone answers 8,101", "browser offers again add=video", "phone offers 8,101 dir=sendonly", "browser answers again add=video stop=video dir=recvonly setup=active", "browser offers again add=video stop=video"},
		"data_added":         {"browser offers jssip_offer", "phone answers 8,101", "browser offers again add=application", "browser offers again add=application stop=application"},
		"audio_not_first":    {"browser offers jssip_offer add=^video add=^application", "phone answers 8,101", "browser offers again add=^video add=^application dir=sendonly", "phone answers 8,101 dir=recvonly"},
		"bundle_only":        {"browser offers jssip_offer add=^video bundle-only", "phone answers 8,101"},
		"audio_stopped":      {"browser offers jssip_offer", "phone answers 8,101", "browser offers again port=0", "browser offers again"},
		"line_missing":       {"browser offers jssip_offer add=video", "phone answers 8,101", "browser offers again"},
		"phone_offers_video": {"phone offers 8,101 add=video", "browser answers chrome_answer", "phone offers 8,101 add=video stop=video"},
	} {
		t.Run(name, func(t *testing.T) { play(t, "lines_"+name, PreferRelay, steps...) })
	}
}

// TestR4733_EventRates: telephone-event at the audio's clock rate on each side (RFC 4733 §2.1), or what there is.
func TestR4733_EventRates(t *testing.T) {
	for name, steps := range map[string][]string{
		"opus_has_48000":      {"browser offers chromium_audio_offer", "phone answers 8,101"},
		"opus_has_8000_only":  {"browser offers firefox_offer", "phone answers 8,101"},
		"g711":                {"browser offers chromium_audio_offer without=opus", "phone answers 8,101"},
		"phone_has_none":      {"browser offers chromium_audio_offer", "phone answers 8"},
		"browser_has_none":    {"browser offers chromium_audio_offer without=telephone-event", "phone answers 8"},
		"phone_calls_with_96": {"phone offers 8,96", "browser answers chromium_answer", "browser offers again dir=sendonly setup=actpass", "phone answers 8,96 dir=recvonly"},
	} {
		t.Run(name, func(t *testing.T) { play(t, "events_"+name, PreferOpus, steps...) })
	}
}
