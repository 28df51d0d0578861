package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Config is what a sidecar runs by: each setting that is in force, where it comes from, and no secret.
type Config struct {
	Text     string            `json:"text"`     // YAML, with the origin of each value as a comment
	Settings json.RawMessage   `json:"settings"` // the same as an object
	From     map[string]string `json:"from"`     // the origin by the path of the key: default, a place in the file, a flag
	Notes    []string          `json:"notes,omitempty"`
}

// Config asks for the settings in force.
func (c *Client) Config(ctx context.Context) (Config, error) {
	var config Config
	if err := c.ask(ctx, http.MethodGet, "/v1/config", nil, answerTime, &config); err != nil {
		return Config{}, fmt.Errorf("ask for the settings: %w", err)
	}
	return config, nil
}

func (c control) config(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, c.Config()) }
