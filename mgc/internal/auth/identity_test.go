package auth

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// claimsOf decodes claims as the verifiers do.
func claimsOf(t testing.TB, text string) map[string]any {
	t.Helper()
	c, err := decodeObject([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

func TestREG08_ClaimsBecomeIdentities(t *testing.T) {
	cases := []struct {
		name   string
		cfg    MappingConfig
		claims string
		impi   string // "": NoIdentity
		impus  string // joined by spaces
	}{
		{"defaults", MappingConfig{}, `{"sub":"alice"}`, "alice@ims.example", "sip:alice@ims.example"},
		{"names of claims", MappingConfig{IMPI: "{impi}", IMPUs: []string{"{impus}"}}, `{"impi":"a@ims.example","impus":["sip:A@IMS.example;x=y","sip:b@ims.example"]}`,
			"a@ims.example", "sip:A@ims.example sip:b@ims.example"},
		{"path into objects", MappingConfig{IMPI: "{/ims/impi}", IMPUs: []string{"sip:{/ims/user}@ims.example"}}, `{"ims":{"impi":"a@ims.example","user":"a"}}`,
			"a@ims.example", "sip:a@ims.example"},
		{"a claim named like a URL", MappingConfig{IMPUs: []string{"{https://ims.example/impu}"}}, `{"sub":"a","https://ims.example/impu":"sip:a@ims.example"}`,
			"a@ims.example", "sip:a@ims.example"},
		{"tel", MappingConfig{IMPUs: []string{"sip:{sub}@ims.example", "tel:{phone}"}, TelPrefixes: []string{"+49"}}, `{"sub":"a","phone":"+49 (30) 123-45"}`,
			"a@ims.example", "sip:a@ims.example"}, // spaces are no visual separators of a tel URI
		{"tel with separators", MappingConfig{IMPUs: []string{"tel:{phone}"}, TelPrefixes: []string{"+49"}}, `{"sub":"a","phone":"+49-30-12345"}`, "a@ims.example", "tel:+493012345"},
		{"tel of another country", MappingConfig{IMPUs: []string{"tel:{phone}"}, TelPrefixes: []string{"+49"}}, `{"sub":"a","phone":"+1555123456"}`, "", ""},
		{"tel not allowed", MappingConfig{IMPUs: []string{"tel:{phone}"}}, `{"sub":"a","phone":"+4930123"}`, "", ""},
		{"local tel", MappingConfig{IMPUs: []string{"tel:{phone}"}, TelPrefixes: []string{""}}, `{"sub":"a","phone":"110"}`, "", ""},
		{"tel with parameters", MappingConfig{IMPUs: []string{"tel:{phone}"}, TelPrefixes: []string{"+49"}}, `{"sub":"a","phone":"+4930123;phone-context=x"}`, "", ""},
		{"mail address", MappingConfig{IMPI: "{email}", IMPUs: []string{"sip:{email}"}}, `{"email":"alice@ims.example"}`, "alice@ims.example", "sip:alice@ims.example"},
		{"mail address of another domain", MappingConfig{IMPUs: []string{"sip:{email}"}}, `{"sub":"a","email":"alice@evil.example"}`, "", ""},
		{"domain in the user name", MappingConfig{}, `{"sub":"alice@evil.example"}`, "alice%40evil.example@ims.example", "sip:alice%40evil.example@ims.example"},
		{"URI in the user name", MappingConfig{}, `{"sub":"bob@ims.example;x=<sip:y>?"}`, "bob%40ims.example;x=%3Csip%3Ay%3E?@ims.example", "-"},
		{"user with a colon", MappingConfig{}, `{"sub":"a:b"}`, "a%3Ab@ims.example", "sip:a%3Ab@ims.example"},
		{"control character", MappingConfig{}, `{"sub":"a\r\nX: y"}`, "", ""},
		{"broken UTF-8", MappingConfig{}, "{\"sub\":\"a\xff\"}", "", ""},
		{"beyond ASCII", MappingConfig{}, `{"sub":"jürgen"}`, "j%C3%BCrgen@ims.example", "sip:j%C3%BCrgen@ims.example"},
		{"number", MappingConfig{IMPUs: []string{"sip:{n}@ims.example"}}, `{"sub":"a","n":4930}`, "a@ims.example", "sip:4930@ims.example"},
		{"fraction", MappingConfig{IMPUs: []string{"sip:{n}@ims.example"}}, `{"sub":"a","n":1.5}`, "", ""},
		{"host from a claim", MappingConfig{IMPUs: []string{"sip:{sub}@{tenant}.ims.example"}, Domains: []string{"ims.example", "T1.ims.example"}}, `{"sub":"a","tenant":"t1"}`,
			"a@ims.example", "sip:a@t1.ims.example"},
		{"host from a claim, not allowed", MappingConfig{IMPUs: []string{"sip:{sub}@{tenant}.ims.example"}}, `{"sub":"a","tenant":"t2"}`, "", ""},
		{"host from a claim, escaping", MappingConfig{IMPUs: []string{"sip:{sub}@{tenant}.ims.example"}, Domains: []string{"ims.example"}}, `{"sub":"a","tenant":"ims.example;x"}`, "", ""},
		{"foreign ones are left out", MappingConfig{IMPUs: []string{"{impus}"}}, `{"sub":"a","impus":["sip:a@evil.example","sip:a@ims.example","mailto:a@ims.example","sip:ims.example","sip:a@ims.example:5070","sip:a:pw@ims.example"]}`,
			"a@ims.example", "sip:a@ims.example"},
		{"password in the URI", MappingConfig{IMPUs: []string{"{impus}"}}, `{"sub":"a","impus":"sip:a:pw@ims.example"}`, "", ""},
		{"missing claim", MappingConfig{IMPUs: []string{"{impus}"}}, `{"sub":"a"}`, "", ""},
		{"claim of another type", MappingConfig{IMPUs: []string{"{impus}"}}, `{"sub":"a","impus":{"x":"sip:a@ims.example"}}`, "", ""},
		{"no private identity", MappingConfig{IMPI: "{impi}"}, `{"sub":"a"}`, "", ""},
		{"two lists in one template", MappingConfig{IMPUs: []string{"sip:{a}{b}@ims.example"}}, `{"sub":"a","a":["1","2"],"b":["3","4"]}`, "", ""},
		{"too long", MappingConfig{}, `{"sub":"` + strings.Repeat("a", 256) + `"}`, "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := newMapper(c.cfg, domain)
			if err != nil {
				t.Fatal(err)
			}
			var id Identity
			err = m.identity(&id, claimsOf(t, c.claims))
			if c.impi == "" {
				if ReasonOf(err) != NoIdentity {
					t.Errorf("%+v, %v; want no identity", id, err)
				}
				return
			}
			if err != nil || id.IMPI != c.impi || c.impus != "-" && strings.Join(id.IMPUs, " ") != c.impus {
				t.Errorf("%+v, %v", id, err)
			}
			for _, u := range id.IMPUs {
				if !strings.HasPrefix(u, "tel:") && !strings.HasSuffix(u, "ims.example") || !id.Allows(u) {
					t.Errorf("%s", u)
				}
			}
		})
	}
}

func TestREG08_ManyIdentitiesAreRefused(t *testing.T) {
	m, err := newMapper(MappingConfig{IMPUs: []string{"{impus}"}}, domain)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]Reason{maxIMPUs: Accepted, maxIMPUs + 1: NoIdentity} {
		list := make([]any, n)
		for i := range list {
			list[i] = "sip:u" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + "@ims.example"
		}
		var id Identity
		if err := m.identity(&id, map[string]any{"sub": "a", "impus": list}); ReasonOf(err) != want {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestREG08_ManyIdentitiesOfManyClaimsAreRefused(t *testing.T) {
	m, err := newMapper(MappingConfig{IMPUs: []string{"sip:a{list}@ims.example", "sip:b{list}@ims.example"}}, domain)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]any, maxIMPUs/2+1)
	for i := range list {
		list[i] = string(rune('a' + i))
	}
	var id Identity
	if err := m.identity(&id, map[string]any{"sub": "a", "list": list}); ReasonOf(err) != NoIdentity {
		t.Errorf("%d identities: %v", len(id.IMPUs), err)
	}
}

func TestREG09_WildcardedIdentity(t *testing.T) {
	claims := claimsOf(t, `{"sub":"a","impus":["sip:guest!.*!@ims.example","sip:ev!a|b!il@evil.example","sip:x!a)|(.*!@ims.example","sip:y![!@ims.example","sip:z!`+strings.Repeat("a", 65)+`!@ims.example"]}`)
	m, err := newMapper(MappingConfig{IMPUs: []string{"{impus}"}, Wildcard: true}, domain)
	if err != nil {
		t.Fatal(err)
	}
	var id Identity
	if err := m.identity(&id, claims); err != nil || !slices.Equal(id.Wildcards, []string{"sip:guest!.*!@ims.example"}) {
		t.Fatalf("%+v %v", id, err)
	}
	for uri, want := range map[string]bool{
		"sip:guest7@ims.example": true, "sip:guest@IMS.EXAMPLE;x=y": true, "sip:gues@ims.example": false, "sip:guest7@evil.example": false,
		"sip:aguest7@ims.example": false, "tel:+49": false, "sip:guest7%40ims.example@evil.example": false, "nonsense": false,
	} {
		if id.Allows(uri) != want {
			t.Errorf("%s: %v", uri, !want)
		}
	}
	if m, err = newMapper(MappingConfig{IMPUs: []string{"{impus}"}}, domain); err != nil {
		t.Fatal(err)
	}
	// Not allowed by configuration: what is no wildcard to us is the literal identity, nothing more.
	id = Identity{}
	if err := m.identity(&id, claims); err == nil && (len(id.Wildcards) != 0 || id.Allows("sip:guest7@ims.example")) {
		t.Errorf("wildcard off: %+v %v", id, err)
	}
}

// FuzzMapping: whatever a user name is, the identity is of our domain, is what Allows accepts, and two names never share one.
func FuzzMapping(f *testing.F) {
	for _, s := range []string{"alice", "a@b", "a%40b", "%", "sip:x", "a;b=c?d", "\u00e4", "a b", "'\"<>"} {
		f.Add(s, s+"x")
	}
	m, err := newMapper(MappingConfig{}, domain)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		one, okA := mapped(t, m, a)
		two, okB := mapped(t, m, b)
		if okA && okB && a != b && (one.IMPI == two.IMPI || one.IMPUs[0] == two.IMPUs[0]) {
			t.Fatalf("%q and %q are both %s", a, b, one.IMPI)
		}
	})
}

func mapped(t *testing.T, m *mapper, sub string) (Identity, bool) {
	text, err := json.Marshal(map[string]any{"sub": sub})
	if err != nil || strings.Contains(string(text), `\ufffd`) {
		return Identity{}, false
	}
	var id Identity
	if err := m.identity(&id, claimsOf(t, string(text))); err != nil {
		return Identity{}, false
	}
	if !strings.HasSuffix(id.IMPI, "@ims.example") || strings.Count(id.IMPI, "@") != 1 || len(id.IMPUs) != 1 || !id.Allows(id.IMPUs[0]) {
		t.Fatalf("%q: %+v", sub, id)
	}
	return id, true
}

func TestREG08_TemplatesAreChecked(t *testing.T) {
	for _, s := range []string{"sip:alice@ims.example", "", "sip:{sub@x", "sip:sub}@x", "sip:{}@x", "sip:{a{b}}@x", "}{"} {
		if _, err := parseTemplate(s); err == nil {
			t.Errorf("%q accepted", s)
		}
	}
}
