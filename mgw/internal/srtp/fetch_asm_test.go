//go:build (amd64 || arm64) && !purego

package srtp

import (
	"reflect"
	"testing"
)

// TestFetchKnowsWhereAKeyIs: the round keys and the products of an AES-GCM key are where FetchKey asks for them. A new Go may move them, which breaks nothing
// and makes the packet path slower.
func TestFetchKnowsWhereAKeyIs(t *testing.T) {
	tx, _ := pair(t, AES256GCM)
	of := func(in reflect.Type, name string) (at uintptr, found reflect.Type) {
		f, ok := in.FieldByName(name)
		if !ok {
			t.Fatalf("%v has no %s", in, name)
		}
		for _, i := range f.Index { // through what it is embedded in
			at += in.Field(i).Offset
			in = in.Field(i).Type
		}
		return at, in
	}
	key := reflect.TypeOf(tx.aead.gcm).Elem()
	cipher, block := of(key, "cipher")
	enc, rounds := of(block, "enc")
	if end := cipher + enc + rounds.Size(); cipher != 0 || end != roundKeys {
		t.Errorf("round keys from %d to %d, asked for to %d", cipher+enc, end, roundKeys)
	}
	if at, table := of(key, "productTable"); at != productsBegin || table.Size() != products {
		t.Errorf("%d octets of products at %d, asked for %d at %d", table.Size(), at, products, productsBegin)
	}
}
