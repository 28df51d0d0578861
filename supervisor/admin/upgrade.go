package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// UpgradeRequest asks for another program in the place of this one.
type UpgradeRequest struct {
	File *os.File // open for reading; nil: the file at the path from which this one was started
	By   string   // who asks, as in "uid 0"
}

// Upgrade is an upgrade as it begins. What comes of it, Status tells.
type Upgrade struct {
	Number int64  `json:"number"` // Upgrades.Tried as it will be
	From   string `json:"from"`   // the version that runs
	To     string `json:"to"`     // the version that the file says it is
	undone int64  // Upgrades.Undone before
}

// Upgrades is what has come of upgrades in place, since the keeper was first started.
type Upgrades struct {
	Tried       int64  `json:"tried"`
	Undone      int64  `json:"undone"` // of these, those after which the old program went on
	OnTrial     bool   `json:"on_trial"`
	TrialLeftMS int64  `json:"trial_left_ms"` // until the program that runs stays for good
	LastError   string `json:"last_error"`    // why the last of the undone ones was
}

// lookTime is how long a program may be looked at.
const lookTime = 30 * time.Second

// upgrade answers first and begins then: the one who answers is the one who ends.
func (c control) upgrade(w http.ResponseWriter, r *http.Request) {
	peer, may := c.actor(w, r, "upgrade")
	if !may {
		return
	}
	if err := decode(w, r, &struct{}{}); err != nil {
		replyError(w, http.StatusBadRequest, BadRequest, "upgrade takes {}, and a descriptor beside it: "+err.Error())
		return
	}
	// Else the deadline for reading the request would pass while the program is asked, and end its context.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(lookTime)); err != nil {
		replyRefusal(w, err)
		return
	}
	request := UpgradeRequest{File: passedFrom(r.Context()), By: peer.String()}
	if request.File != nil {
		defer request.File.Close()
	}
	u, begin, err := c.Upgrade(r.Context(), request)
	if err != nil {
		c.log.Warn("upgrade refused", "reason", err, "uid", peer.UID, "pid", peer.PID)
		replyRefusal(w, err)
		return
	}
	c.log.Warn("upgrade begins", "from", u.From, "to", u.To, "uid", peer.UID, "pid", peer.PID, "file_passed", request.File != nil)
	reply(w, http.StatusAccepted, u)
	_ = http.NewResponseController(w).Flush() // a peer that has gone changes nothing
	begin()
}

// Upgrade asks for an upgrade to a file that is open, or with nil to the one that lies where the running one came from. The
// error may be a Refusal.
func (c *Client) Upgrade(ctx context.Context, file *os.File) (Upgrade, error) {
	u := Upgrade{}
	before, err := c.Status(ctx)
	if err != nil {
		return u, err
	}
	if file == nil {
		err = c.ask(ctx, http.MethodPost, "/v1/upgrade", []byte("{}"), lookTime, &u)
	} else {
		err = c.pass(ctx, file, &u)
	}
	u.undone = before.Upgrades.Undone
	if err != nil {
		return u, fmt.Errorf("ask for an upgrade: %w", err)
	}
	return u, nil
}

// pass asks with a descriptor beside the request's bytes.
func (c *Client) pass(ctx context.Context, file *os.File, u *Upgrade) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.path)
	if err != nil {
		return fmt.Errorf("control socket %s: %w", c.path, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://sidecar/v1/upgrade", bytes.NewReader([]byte("{}")))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Close = true
	var text bytes.Buffer
	if err := request.Write(&text); err != nil {
		return err
	}
	// The kernel takes so few bytes as a whole.
	if _, _, err := conn.(*net.UnixConn).WriteMsgUnix(text.Bytes(), unix.UnixRights(int(file.Fd())), nil); err != nil {
		return fmt.Errorf("control socket %s: %w", c.path, err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return fmt.Errorf("control socket %s: %w", c.path, err)
	}
	defer answer.Body.Close()
	return c.read(answer, u)
}

// Bounds of AwaitUpgrade.
const (
	glance         = 2 * time.Second  // for one question: the one who is asked may be about to end
	upgradePatient = 30 * time.Second // until the new program answers, or the old one again
)

// UndoneError is an upgrade after which the old program goes on.
type UndoneError struct{ Why string }

func (e *UndoneError) Error() string { return "the upgrade was undone: " + e.Why }

// AwaitUpgrade returns a status as soon as the new program answers, or with wait when its trial is over. An UndoneError
// comes with the status of the old program.
func (c *Client) AwaitUpgrade(ctx context.Context, u Upgrade, wait bool) (Status, error) {
	lastAnswer := time.Now()
	for {
		once, cancel := context.WithTimeout(ctx, glance)
		s, err := c.Status(once)
		cancel()
		if err == nil && s.Upgrades.Tried >= u.Number {
			lastAnswer = time.Now()
			switch {
			case s.Upgrades.Undone > u.undone:
				return s, &UndoneError{s.Upgrades.LastError}
			case !wait || !s.Upgrades.OnTrial:
				return s, nil
			}
		}
		if time.Since(lastAnswer) > upgradePatient {
			return s, errors.Join(errors.New("nothing has come of the upgrade; the sidecar's log says why"), err)
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return s, context.Cause(ctx)
		}
	}
}
