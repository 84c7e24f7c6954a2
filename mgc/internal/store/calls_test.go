package store

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"testing"
	"time"
)

// TestCallEncodesAsJSON: the short way reads as what encoding/json writes.
func TestCallEncodesAsJSON(t *testing.T) {
	for _, c := range []Call{
		{Key: "k", Owner: "null}", State: json.RawMessage(`null`)},
		{Key: "k", Owner: "mgc-1", MGW: "m", Boot: "b", Context: "c", Flow: "<f>", Started: time.Unix(1, 2).UTC(), State: json.RawMessage(`{"a":[1,"}"],"s":null}`)},
		{Key: "k", State: json.RawMessage(`{}`), Beside: json.RawMessage(`{"p":"null}"}`)},
	} {
		for _, size := range []int{0, 1000} {
			raw, err := c.Encode(func(w io.Writer) error { _, err := w.Write(append(c.State, '\n')); return err }, size)
			if err != nil {
				t.Fatal(err)
			}
			var got Call
			if err := json.Unmarshal(raw, &got); err != nil || !reflect.DeepEqual(got, c) {
				t.Errorf("%s, %v\ngot  %+v\nwant %+v", raw, err, got, c)
			}
		}
	}
}

func TestAStateThatCannotBeWrittenMakesNoRecord(t *testing.T) {
	broken := errors.New("broken")
	if raw, err := (Call{}).Encode(func(io.Writer) error { return broken }, 0); !errors.Is(err, broken) || raw != nil {
		t.Errorf("%s, %v", raw, err)
	}
}
