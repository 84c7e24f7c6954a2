package store

import (
	"encoding/json"
	"testing"
	"time"
)

// TestCallEncodesAsJSON: the short way gives what encoding/json gives.
func TestCallEncodesAsJSON(t *testing.T) {
	for _, c := range []Call{
		{},
		{Key: "k", Owner: "null}", State: json.RawMessage(`null`)},
		{Key: "k", Owner: "mgc-1", MGW: "m", Boot: "b", Context: "c", Flow: "<f>", Started: time.Unix(1, 2).UTC(), State: json.RawMessage(`{"a":[1,"}"],"s":null}`)},
		{Key: "k", State: json.RawMessage(`{}`), Beside: json.RawMessage(`{"p":"null}"}`)},
	} {
		want, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Encode(); err != nil || string(got) != string(want) {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
}
