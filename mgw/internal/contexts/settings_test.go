package contexts

import (
	"reflect"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Each setting of the model reaches the packet path: where all are given, none is left out.
func TestEverySettingReachesThePacketPath(t *testing.T) {
	c := codec.Codec{Name: codec.PCMA, PT: 8, ClockRate: 8000}
	var in connmodel.Settings
	v := reflect.ValueOf(&in).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			f.SetInt(1)
		case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			f.SetUint(3)
		case reflect.String:
			f.SetString("x")
		}
	}
	in.Recv, in.Send, in.SendDTMF, in.SendCN = []codec.Codec{c}, c, c, c
	in.Ptime, in.MaxPtime, in.Policing, in.Mode = 40*time.Millisecond, 150*time.Millisecond, connmodel.Policing{BytesPerSecond: 1, BurstBytes: 1}, connmodel.ModeSendRecv
	out := settings(in)
	if out.Mode != flow.SendRecv || out.Ptime != in.Ptime || out.MaxPtime != in.MaxPtime {
		t.Errorf("%+v", out)
	}
	o := reflect.ValueOf(out)
	for i := range o.NumField() {
		if o.Field(i).IsZero() {
			t.Errorf("%s is not set", o.Type().Field(i).Name)
		}
	}
}
