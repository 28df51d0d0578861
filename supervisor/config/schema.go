package config

import (
	"bytes"
	"encoding/json"
	"reflect"

	"go.yaml.in/yaml/v4"
)

// Schema returns a JSON Schema (2020-12) of the file, for editors. It is made from the table that files are read by. What
// it can't say, `config check` does: what goes together with what, and the bounds of times and sizes.
func Schema() []byte {
	s := keys().schema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "autoglm-sidecar"
	s["description"] = "The file of autoglm-sidecar run --config FILE. docs/configuration.md says what each key is for."
	d := Defaults()
	addDefaults(keys(), reflect.ValueOf(&d).Elem(), s)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		panic("config: the schema can't be written: " + err.Error()) // it is made of words and numbers
	}
	return b.Bytes()
}

// addDefaults puts in the values that hold where nothing is said. Those of engines may come before them.
func addDefaults(o object, v reflect.Value, schema map[string]any) {
	properties := schema["properties"].(map[string]any)
	for _, k := range o {
		inner := properties[k.name].(map[string]any)
		if deeper, ok := k.form.(object); ok {
			addDefaults(deeper, k.at(v), inner)
			continue
		}
		n := k.form.show("", k.at(v), func(string) string { return "" })
		if n != nil && (n.Kind != yaml.ScalarNode || n.Value != "") {
			if l, isList := plainOf(n).([]any); !isList || len(l) > 0 {
				inner["default"] = plainOf(n)
			}
		}
	}
}
