package policy

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// notify posts body to the callback of call and returns the status.
func notify(a *N5, call, kind, body string) *http.Response {
	r := httptest.NewRequest(http.MethodPost, strings.TrimPrefix(a.notifURI(call), a.cfg.Callback.base())+"/"+kind, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, r)
	return w.Result()
}

const resource = "http://127.0.0.1:7777/npcf-policyauthorization/v1/app-sessions/s1"

func TestPCC05_Events(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want []Event
	}{
		"lost": {`"evNotifs":[{"event":"FAILED_RESOURCES_ALLOCATION"}],"failedResourcAllocReports":[{"mcResourcStatus":"INACTIVE","flows":[{"medCompN":2},{"medCompN":1,"fNums":[1]},{"medCompN":2}]}]`,
			[]Event{{Kind: ResourcesFailed, Media: []int{1, 2}}}},
		"lost, all": {`"evNotifs":[{"event":"FAILED_RESOURCES_ALLOCATION"}]`, []Event{{Kind: ResourcesFailed}}},
		"there":     {`"evNotifs":[{"event":"SUCCESSFUL_RESOURCES_ALLOCATION","flows":[{"medCompN":1}]}]`, []Event{{Kind: ResourcesAllocated, Media: []int{1}}}},
		"quality": {`"evNotifs":[{"event":"QOS_NOTIF"}],"qncReports":[{"notifType":"NOT_GUARANTEED","flows":[{"medCompN":1}]},{"notifType":"GUARANTEED","flows":[{"medCompN":2}]}]`,
			[]Event{{Kind: QoSLost, Media: []int{1}}, {Kind: QoSBack, Media: []int{2}}}},
		"credit": {`"evNotifs":[{"event":"OUT_OF_CREDIT"}],"outOfCredReports":[{"finUnitAct":"TERMINATE"}]`, []Event{{Kind: OutOfCredit, Cause: "TERMINATE"}}},
		"access": {`"evNotifs":[{"event":"ACCESS_TYPE_CHANGE"}],"accessType":"NON_3GPP_ACCESS","ratType":"WLAN","anGwAddr":{"anGwIpv4Addr":"192.0.2.77"}`,
			[]Event{{Kind: AccessChanged, Access: &Access{Type: "NON_3GPP_ACCESS", RAT: "WLAN", Gateway: "192.0.2.77"}}}},
		"charging and one to come": {`"evNotifs":[{"event":"CHARGING_CORRELATION"},{"event":"SOMETHING_OF_RELEASE_21"}],"anChargIds":[{"accNetChaIdValue":4711}]`,
			[]Event{{Kind: ChargingReported, Charging: []uint64{4711}}}},
		"location": {`"evNotifs":[{"event":"ANI_REPORT"}],"ueTimeZone":"+08:00","plmnId":{"mcc":"001","mnc":"01"},"ueLoc":{"x":1}`,
			[]Event{{Kind: LocationReported, Access: &Access{MCC: "001", MNC: "01", TimeZone: "+08:00", Location: json.RawMessage(`{"x":1}`)}}}},
	} {
		t.Run(name, func(t *testing.T) {
			world(t, nil, func(t *testing.T, a *N5, _ *fakePCF, _ *pipes) {
				must(a.Create(t.Context(), offer()))(t)
				if got := notify(a, "call-1", "notify", `{"evSubsUri":"`+resource+`/events-subscription",`+c.body+`}`).StatusCode; got != 204 {
					t.Fatal(got)
				}
				for _, want := range c.want {
					want.Call, want.Resource = "call-1", resource
					if got := <-a.Events(); !reflect.DeepEqual(got, want) {
						t.Errorf("%+v, want %+v", got, want)
					}
				}
				if len(a.Events()) != 0 {
					t.Error("more events")
				}
			})
		})
	}
}

func TestPCC06_TerminationRequest(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		s := must(a.Create(t.Context(), offer()))(t)
		if got := notify(a, "call-1", "terminate", `{"termCause":"PDU_SESSION_TERMINATION","resUri":"`+resource+`"}`).StatusCode; got != 204 {
			t.Fatal(got)
		}
		want := Event{Call: "call-1", Resource: s.URI, Kind: Terminated, Cause: "PDU_SESSION_TERMINATION"}
		if got := <-a.Events(); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v", got)
		}
		a.Delete(s)
		quiesce()
		if p.deleted["s1"] != 1 {
			t.Error("not deleted")
		}
	})
}

func TestPCC05_EventsInResponses(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		p.after = func(op string, _ *http.Request) *answer {
			return &answer{map[string]int{"create": 201, "update": 200, "delete": 200}[op], map[string]string{"Location": resource, "Content-Type": "application/json"},
				`{"evsNotif":{"evSubsUri":"x","evNotifs":[{"event":"SUCCESSFUL_RESOURCES_ALLOCATION"}]}}`}
		}
		s := must(a.Create(t.Context(), offer()))(t)
		s = must(a.Update(t.Context(), s, answered()))(t)
		a.Delete(s)
		quiesce()
		if len(a.Events()) != 3 {
			t.Errorf("%d events", len(a.Events()))
		}
	})
}

func TestPCC05_BadNotificationsAreRefused(t *testing.T) {
	world(t, []string{"--limits.events=1"}, func(t *testing.T, a *N5, _ *fakePCF, _ *pipes) {
		good := `{"evSubsUri":"` + resource + `","evNotifs":[{"event":"FAILED_RESOURCES_ALLOCATION"}]}`
		path := strings.TrimPrefix(a.notifURI("call-1"), a.cfg.Callback.base())
		other := callbackPath + a.deps.Sealer.Seal(2, []byte("call-1")) // the user part of our Contact
		for name, c := range map[string]struct {
			method, path, ctype, body string
			want                      int
		}{
			"forged":           {"POST", callbackPath + "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/notify", "application/json", good, 404},
			"token of a call":  {"POST", other + "/notify", "application/json", good, 404},
			"no token":         {"POST", callbackPath + "/notify", "application/json", good, 404},
			"other path":       {"POST", "/", "application/json", good, 404},
			"other kind":       {"POST", path + "/new-bridge", "application/json", good, 404},
			"longer path":      {"POST", path + "/notify/x", "application/json", good, 404},
			"method":           {"GET", path + "/notify", "application/json", good, 405},
			"content type":     {"POST", path + "/notify", "text/plain", good, 415},
			"no content type":  {"POST", path + "/notify", "", good, 415},
			"garbage":          {"POST", path + "/notify", "application/json", "\x00\xff", 400},
			"array":            {"POST", path + "/notify", "application/json", "[]", 400},
			"wrong type":       {"POST", path + "/notify", "application/json", `{"evSubsUri":1,"evNotifs":[{"event":"x"}]}`, 400},
			"no events":        {"POST", path + "/notify", "application/json", `{"evSubsUri":"x","evNotifs":[]}`, 400},
			"no subscription":  {"POST", path + "/notify", "application/json", `{"evNotifs":[{"event":"x"}]}`, 400},
			"event unnamed":    {"POST", path + "/notify", "application/json", `{"evSubsUri":"x","evNotifs":[{}]}`, 400},
			"no cause":         {"POST", path + "/terminate", "application/json", `{"resUri":"x"}`, 400},
			"terminate, empty": {"POST", path + "/terminate", "application/json", ``, 400},
			"huge":             {"POST", path + "/notify", "application/json", `{"x":"` + strings.Repeat("a", maxBody) + `"}`, 413},
		} {
			r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			r.Header.Set("Content-Type", c.ctype)
			w := httptest.NewRecorder()
			a.Handler().ServeHTTP(w, r)
			if w.Code != c.want || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		}
		if len(a.Events()) != 0 {
			t.Error("a refused notification made an event")
		}
		if got := notify(a, "call-1", "notify", good); got.StatusCode != 204 {
			t.Fatal(got.Status)
		}
		if got := notify(a, "call-1", "notify", good); got.StatusCode != 503 || got.Header.Get("Retry-After") != "1" || len(a.Events()) != 1 {
			t.Errorf("nobody reads: %s", got.Status)
		}
		<-a.Events()
		two := `{"evSubsUri":"x","evNotifs":[{"event":"FAILED_RESOURCES_ALLOCATION"},{"event":"SUCCESSFUL_RESOURCES_ALLOCATION"}]}`
		if got := notify(a, "call-1", "notify", two); got.StatusCode != 503 || len(a.Events()) != 0 {
			t.Errorf("half taken: %s, %d", got.Status, len(a.Events()))
		}
		if got := testutil.ToFloat64(a.deps.Metrics.callbacks.WithLabelValues("full")); got != 2 {
			t.Errorf("counted %v", got)
		}
	})
}

func TestPCC06_OrphanIsDeleted(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		p.after = func(op string, _ *http.Request) *answer { return &answer{} } // done, but the answer is lost
		must(a.Create(t.Context(), offer()))(t)
		p.set(func() { p.after = nil })
		s := must(a.Create(t.Context(), offer()))(t)
		if len(p.open()) != 2 {
			t.Fatalf("%v", p.open())
		}
		if got := notify(a, "call-1", "notify", `{"evSubsUri":"`+resource+`/events-subscription","evNotifs":[{"event":"FAILED_RESOURCES_ALLOCATION"}]}`); got.StatusCode != 204 {
			t.Fatal(got.Status)
		}
		quiesce()
		if got := p.open(); !reflect.DeepEqual(got, []string{"s2"}) || len(a.Events()) != 0 || !strings.HasSuffix(s.URI, "/s2") {
			t.Errorf("open %v, %d events", got, len(a.Events()))
		}
		// Nobody can have our token sent to a host of his choice.
		notify(a, "call-1", "terminate", `{"termCause":"x","resUri":"http://evil.example/npcf-policyauthorization/v1/app-sessions/1"}`)
		a.Delete(Session{Call: "call-1", URI: (<-a.Events()).Resource})
		quiesce()
		if p.count("delete") != 1 {
			t.Errorf("%v", p.ops())
		}
	})
}

func TestPCC05_AccessNetworkInfo(t *testing.T) {
	for loc, want := range map[string]string{
		`{"nrLocation":{"tai":{"plmnId":{"mcc":"262","mnc":"01"},"tac":"00ABCD"},"ncgi":{"plmnId":{"mcc":"262","mnc":"01"},"nrCellId":"012345678"}}}`: "3GPP-NR;utran-cell-id-3gpp=2620100abcd012345678;network-provided",
		`{"eutraLocation":{"tai":{"tac":"ABCD"},"ecgi":{"plmnId":{"mcc":"262","mnc":"01"},"eutraCellId":"0123456"}}}`:                                 "3GPP-E-UTRAN;utran-cell-id-3gpp=26201abcd0123456;network-provided",
		`{"nrLocation":{"tai":{"tac":"x\r\nEvil: 1"},"ncgi":{"plmnId":{"mcc":"262","mnc":"01"},"nrCellId":"012345678"}}}`:                             "IEEE-802.11;network-provided",
		`[`: "IEEE-802.11;network-provided",
	} {
		if got := (&Access{RAT: "WLAN", Location: json.RawMessage(loc)}).ANI(); got != want {
			t.Errorf("%s: %q", loc, got)
		}
	}
	for rat, want := range map[string]string{"NR": "3GPP-NR;network-provided", "EUTRA": "3GPP-E-UTRAN;network-provided", "VIRTUAL": ""} {
		if got := (&Access{RAT: rat}).ANI(); got != want {
			t.Errorf("%s: %q", rat, got)
		}
	}
	if (*Access)(nil).ANI() != "" {
		t.Error("of nothing")
	}
}

// FuzzNotification: whatever comes, it is an answer of 4xx or 204 and never half a delivery.
func FuzzNotification(f *testing.F) {
	for _, s := range []string{`{"evSubsUri":"x","evNotifs":[{"event":"QOS_NOTIF"}],"qncReports":[{"notifType":"GUARANTEED","flows":[{"medCompN":1}]}]}`, `{"termCause":"x","resUri":"y"}`, `{`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, kind := range []string{"notify", "terminate"} {
			events, _, cause := readNotification(kind, "c", body)
			if cause != "" && events != nil {
				t.Errorf("%s: refused for %s, and %d events", kind, cause, len(events))
			}
			for _, e := range events {
				if e.Call != "c" || e.Kind == "" {
					t.Errorf("%+v", e)
				}
				e.Access.ANI()
			}
		}
		var c appSessionContext
		if json.Unmarshal(body, &c) == nil {
			readContext(Session{}, body)
		}
		classify(reply{status: 403, body: body, header: http.Header{}})
	})
}

func TestResponsesAreBounded(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		p.hook = func(op string, _ *http.Request) *answer {
			return &answer{403, nil, `{"cause":"` + strings.Repeat("A", 4*maxBody) + `"}`}
		}
		_, err := a.Create(t.Context(), offer())
		if r := refusal(t, err); r.Verdict != Forbidden || r.Cause != "" {
			t.Errorf("a body beyond the bound was read: cause of %d bytes", len(r.Cause))
		}
		p.set(func() {
			p.hook = func(string, *http.Request) *answer {
				return &answer{403, nil, `{"cause":"` + strings.Repeat("A", 4096) + `"}`}
			}
		})
		if _, err = a.Create(t.Context(), offer()); len(refusal(t, err).Cause) != 100 {
			t.Errorf("cause of %d bytes", len(refusal(t, err).Cause))
		}
	})
}
