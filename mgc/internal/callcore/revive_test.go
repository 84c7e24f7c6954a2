package callcore

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Before each event the state is revived, as a successor would find it. Some sequences really store it, and play the state that lived on
// beside the revived one; the others only keep what storing keeps, which is ten times quicker, and which the first ones check.

// revive returns the state that the next event finds.
func (w *world) revive() (*State, error) {
	kept := &State{d: keep(reflect.ValueOf(&w.s.d).Elem()).Interface().(data)}
	kept.complete()
	if !w.stores {
		return kept, nil
	}
	raw, err := w.s.MarshalJSON()
	if err != nil {
		return nil, err
	}
	revived := &State{}
	if err := revived.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	again, err := revived.MarshalJSON()
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(raw, again):
		return nil, fmt.Errorf("the revived state differs:\n%s\n%s", raw, again)
	case !reflect.DeepEqual(kept.d, revived.d):
		return nil, errors.New("keep is not what storing keeps")
	}
	return revived, nil
}

// perform has the revived state take the event, and the one that lived on too where it was stored: both have to do the same.
func (w *world) perform(ev Event) ([]Effect, error) {
	revived, err := w.revive()
	if err != nil {
		return nil, err
	}
	got := revived.Step(w.now, ev)
	if w.stores {
		if lived := w.s.Step(w.now, ev); !slices.EqualFunc(got, lived, sameEffect) {
			return nil, fmt.Errorf("the revived state acts otherwise:\n%v\n%v", got, lived)
		}
	}
	w.s = revived
	return got, nil
}

func sameEffect(a, b Effect) bool {
	x, ok1 := a.(Transact)
	y, ok2 := b.(Transact)
	if ok1 && ok2 {
		ok := proto.Equal(x.Req, y.Req)
		x.Req, y.Req = nil, nil
		return ok && x == y
	}
	e, ok1 := a.(Ended)
	f, ok2 := b.(Ended)
	if ok1 && ok2 {
		ok := slices.EqualFunc(e.Record.Statistics, f.Record.Statistics, func(s, t *iqv1.Statistics) bool { return proto.Equal(s, t) })
		e.Record.Statistics, f.Record.Statistics = nil, nil
		return ok && reflect.DeepEqual(e, f)
	}
	return reflect.DeepEqual(a, b)
}

// keep returns a deep copy with what JSON keeps of a value: exported fields that have no tag "-", empty ones as their tags say.
func keep(v reflect.Value) reflect.Value {
	t := v.Type()
	p := planOf(t)
	if p.plain || v.IsZero() {
		return v
	}
	out := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Pointer:
		out.Set(reflect.New(t.Elem()))
		out.Elem().Set(keep(v.Elem()))
	case reflect.Struct:
		for _, f := range p.fields {
			if in := v.Field(f.index); !f.omitEmpty || in.Len() > 0 {
				out.Field(f.index).Set(keep(in))
			}
		}
	case reflect.Slice:
		out.Set(reflect.MakeSlice(t, v.Len(), v.Len()))
		if planOf(t.Elem()).plain {
			reflect.Copy(out, v)
			break
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			out.Index(i).Set(keep(v.Index(i)))
		}
	case reflect.Map:
		out.Set(reflect.MakeMapWithSize(t, v.Len()))
		for it := v.MapRange(); it.Next(); {
			out.SetMapIndex(it.Key(), keep(it.Value()))
		}
	}
	return out
}

// plan says how to keep values of a type.
type plan struct {
	plain  bool // all of it is stored, and an assigned copy shares nothing with it
	fields []field
}

type field struct {
	index     int
	omitEmpty bool // a slice or map
}

var plans sync.Map // reflect.Type -> *plan

func planOf(t reflect.Type) *plan {
	if known, ok := plans.Load(t); ok {
		return known.(*plan)
	}
	p := &plan{plain: true}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		p.plain = false
	case reflect.Array:
		p.plain = planOf(t.Elem()).plain
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.IsExported() && f.Tag.Get("json") != "-" {
				k := f.Type.Kind()
				p.fields = append(p.fields, field{i, options == "omitempty" && (k == reflect.Slice || k == reflect.Map)})
				p.plain = p.plain && planOf(f.Type).plain
			} else {
				p.plain = false
			}
		}
		p.plain = p.plain || t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[netip.AddrPort]()
	}
	plans.Store(t, p)
	return p
}
