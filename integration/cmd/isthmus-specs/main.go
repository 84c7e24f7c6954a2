// Command isthmus-specs lists the conformance rows with the tests that carry their ids, and ends with one line of JSON.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/isthmus-gateway/isthmus/integration/internal/specs"
)

func main() {
	root := flag.String("root", ".", "root of the source tree")
	sections := flag.String("sections", "", "only these sections, e.g. A.1-A.7,B.1; empty: all")
	priorities := flag.String("priority", "", "only rows of these priorities, e.g. MS; empty: all")
	files := flag.Bool("files", false, "show every test with file and line")
	need := flag.Bool("need", false, "end with status 1 when a row of the selection has no test")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "isthmus-specs lists conformance rows with their tests (M: first release, S: second wave, O: optional).")
		flag.PrintDefaults()
	}
	flag.Parse()
	filter := specs.Filter{Priorities: *priorities}
	if *sections != "" {
		filter.Sections = strings.Split(*sections, ",")
	}
	report, err := run(*root, filter)
	if err != nil {
		fmt.Fprintln(os.Stderr, "isthmus-specs:", err)
		os.Exit(2)
	}
	report.Print(os.Stdout, *files)
	last, _ := json.Marshal(report) // plain values
	fmt.Println(string(last))
	if *need && len(report.Without) > 0 {
		os.Exit(1)
	}
}

func run(root string, f specs.Filter) (specs.Report, error) {
	rows, err := specs.Rows()
	if err != nil {
		return specs.Report{}, err
	}
	tests, err := specs.Scan(root)
	if err != nil {
		return specs.Report{}, err
	}
	return specs.Make(rows, tests, f)
}
