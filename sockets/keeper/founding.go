package keeper

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// founded are the seals of what can't change any more, by which it is told from the /dev/null that lies there first.
const founded = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL

// Founding returns what find returned to the first runner that asked, to each runner. What a sidecar was started with
// may change on disk while it runs: a file that is being edited, a user that is removed. A runner that took over by what
// it finds then might not come up, and all streams would end for a typing error; so it goes by what the first one found.
// Without a keeper there is no later runner, and find is asked each time.
func Founding(find func() ([]byte, error)) ([]byte, error) {
	if own.gen == 0 {
		return find()
	}
	if seals, err := unix.FcntlInt(FoundingFD, unix.F_GET_SEALS, 0); err == nil && seals&founded == founded {
		return readFounding()
	}
	content, err := find()
	if err != nil {
		return nil, err
	}
	if err := writeFounding(content); err != nil {
		return nil, fmt.Errorf("keep the settings for the next runner: %w", err)
	}
	return content, nil
}

func readFounding() ([]byte, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(FoundingFD, &stat); err != nil {
		return nil, fmt.Errorf("look at what the sidecar was started with: %w", err)
	}
	content := make([]byte, stat.Size)
	for at := 0; at < len(content); {
		n, err := unix.Pread(FoundingFD, content[at:], int64(at))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return nil, fmt.Errorf("read what the sidecar was started with: %d of %d bytes, %w", at, len(content), err)
		}
		at += n
	}
	return content, nil
}

// writeFounding puts the content in place once it is whole: a runner that dies before leaves nothing.
func writeFounding(content []byte) error {
	fd, err := unix.MemfdCreate("autoglm-sidecar founding", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "founding")
	defer file.Close()
	if _, err := file.Write(content); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, founded); err != nil {
		return err
	}
	return unix.Dup3(fd, FoundingFD, unix.O_CLOEXEC)
}
