package bencode

import (
	"errors"
	"reflect"
	"testing"
)

func TestAppendWritesDictionariesInKeyOrder(t *testing.T) {
	got := string(Append(nil, Dict{"command": "offer", "replace": []string{"origin", "x"}, "a": 7, "codec": Dict{"mask": List{"opus", -1}}}))
	const want = "d1:ai7e5:codecd4:maskl4:opusi-1eee7:command5:offer7:replacel6:origin1:xee"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseReadsWhatAppendWrote(t *testing.T) {
	in := Dict{"sdp": "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\n", "n": -42, "l": List{"", 0, List{}, Dict{}}}
	out, err := Parse(Append(nil, in))
	if err != nil || !reflect.DeepEqual(out, any(in)) {
		t.Errorf("%#v, %v", out, err)
	}
}

func TestParseRefusesMalformedInput(t *testing.T) {
	for _, s := range []string{"", "x", "i", "ie", "i1", "i1x2e", "5:abc", "-1:a", "1:ab", "l", "li1e", "d", "d1:a", "d1:ai1e", "di1ei2ee", "99999999999999999999:a",
		"llllllllllllllllllllleeeeeeeeeeeeeeeeeeeee"} {
		if v, err := Parse([]byte(s)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v, %v", s, v, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("d6:result4:pong3:numi3e1:ll1:aee"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(Append(nil, v))
		if err != nil || !reflect.DeepEqual(v, again) {
			t.Errorf("%#v became %#v, %v", v, again, err)
		}
	})
}
