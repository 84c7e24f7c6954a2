package connmodel

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// field finds "message.field", or fails.
func field(t *testing.T, path string) protoreflect.FieldDescriptor {
	t.Helper()
	message, name, _ := strings.Cut(path, ".")
	m := iqv1.File_isthmus_iq_v1_iq_proto.Messages().ByName(protoreflect.Name(message))
	if m == nil || m.Fields().ByName(protoreflect.Name(name)) == nil {
		t.Fatalf("there is no %s", path)
	}
	return m.Fields().ByName(protoreflect.Name(name))
}

// TestIQ34_ServiceStateIsOfRootOnly: nothing that describes a termination, or is reachable from it, has a service state or an event buffer: service
// changes travel apart, for the gateway or an interface. What WebRTC groups is one message of the termination, not of a stream.
func TestIQ34_ServiceStateIsOfRootOnly(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(m protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			for _, never := range []string{"service_state", "event_buffer"} {
				if strings.Contains(string(f.Name()), never) {
					t.Errorf("%s", f.FullName())
				}
			}
			if f.Message() != nil {
				walk(f.Message())
			}
		}
	}
	for _, m := range []protoreflect.ProtoMessage{&iqv1.Action{}, &iqv1.ActionReply{}, &iqv1.AuditReply{}} {
		walk(m.ProtoReflect().Descriptor())
	}
	if !seen["isthmus.iq.v1.LocalControl"] || !seen["isthmus.iq.v1.Statistics"] {
		t.Error("the walk does not reach what it shall")
	}
	if f := field(t, "TerminationDescriptor.transport"); f.IsList() || f.Message().Name() != "TransportGroup" {
		t.Errorf("group semantics: %v", f)
	}
	for _, own := range []string{"local_ice", "remote_ice", "local_dtls", "remote_dtls", "transport"} {
		if field(t, "Stream.stream_id").ContainingMessage().Fields().ByName(protoreflect.Name(own)) != nil {
			t.Errorf("a stream has %s of its own", own)
		}
	}
}

// TestStreamsOfATermination: the protocol sets no limit to the streams of a termination, each with its own number, properties and descriptions. (The media gateway takes 32.)
func TestStreamsOfATermination(t *testing.T) {
	if f := field(t, "TerminationDescriptor.streams"); !f.IsList() || f.Message().Name() != "Stream" {
		t.Errorf("streams: %v", f)
	}
	for path, kind := range map[string]protoreflect.Kind{
		"Stream.stream_id": protoreflect.Uint32Kind, "Stream.local_control": protoreflect.MessageKind, "Stream.local": protoreflect.MessageKind,
		"Stream.remote": protoreflect.MessageKind, "EventSpec.stream_id": protoreflect.Uint32Kind, "Statistics.stream_id": protoreflect.Uint32Kind,
		"TopologyTriple.stream_id": protoreflect.Uint32Kind, "ObservedEvent.stream_id": protoreflect.Uint32Kind,
	} {
		if f := field(t, path); f.Kind() != kind || f.IsList() {
			t.Errorf("%s: %v", path, f.Kind())
		}
	}
}
