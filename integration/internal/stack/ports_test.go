package stack

import (
	"fmt"
	"net"
	"testing"
)

// All ports of the row are free, and one that somebody has is in no row.
func TestFreePorts(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		first, err := FreePorts(network, 3)
		if err != nil || first < portMin || first+2 > portMax {
			t.Fatalf("%s: %d, %v", network, first, err)
		}
		if err := free(network, first, 3); err != nil {
			t.Errorf("%s: %v", network, err)
		}
	}
	first, err := FreePorts("udp", 2)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", first+1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := free("udp", first, 2); err == nil {
		t.Error("a row with a port that is taken")
	}
}
