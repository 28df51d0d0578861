// The impostor says of itself, when it is asked, that it can go on in the place of the sidecar, and then it can't: what an
// upgrade can't find out before, and has to undo.
package main

import (
	"fmt"
	"os"
	"time"

	"autoglm-sidecar/sockets/keeper"
)

// told is what the true program says with `version --arena`, and flaw what is wrong with this one; set by the linker.
var told, flaw string

func main() {
	if len(os.Args) > 1 && os.Args[1] == "version" {
		fmt.Println(told)
		return
	}
	switch flaw {
	case "panic":
		panic(fmt.Sprintf("runner %d of an impostor", keeper.Gen()))
	case "exit":
		os.Exit(3)
	case "hang":
		time.Sleep(time.Hour) // select {} would be a deadlock to Go, and a panic
	}
}
