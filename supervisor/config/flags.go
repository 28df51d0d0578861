package config

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// Flag is a setting as an option of run.
type Flag struct {
	Name  string // without --
	Help  string
	Value Value
}

// Value reads an option's value. It is what package pflag calls one.
type Value interface {
	String() string
	Set(text string) error
	Type() string
}

// Flags returns the options of run, which fill s. Nothing may be Read before they have been parsed: what they say comes
// before what the file says.
func Flags(s *Settings) (flags []Flag) {
	keys().each("", func(path string, k key) {
		if k.flag == "" {
			return
		}
		v := flagValue{s: s, path: path}
		f := Flag{Name: k.flag, Help: k.help, Value: v}
		if _, isList := k.form.(list); isList {
			f.Value = &addresses{s: s}
		}
		flags = append(flags, f)
	})
	return flags
}

// said notes that a flag has said a key.
func (s *Settings) flag(path string) {
	if s.flagged == nil {
		s.flagged = map[string]bool{}
	}
	s.flagged[path] = true
}

// flagValue is a key that is written as one word.
type flagValue struct {
	s    *Settings
	path string
}

// place returns the form of the key and where its value goes.
func (f flagValue) place() (scalar, reflect.Value) {
	k, v, _ := find(keys(), f.path, reflect.ValueOf(f.s).Elem())
	return k.form.(scalar), k.at(v)
}

func (f flagValue) String() string {
	if f.s == nil { // pflag asks the zero Value, too
		return ""
	}
	form, v := f.place()
	return form.text(v.Convert(form.typ).Interface())
}

// Set takes the value as far as it can be read. Its bounds are told by Resolve, with all else.
func (f flagValue) Set(text string) error {
	form, v := f.place()
	value, err := form.parse(text)
	if err != nil {
		return err
	}
	v.Set(reflect.ValueOf(value).Convert(v.Type()))
	f.s.flag(f.path)
	return nil
}

func (f flagValue) Type() string {
	switch form, _ := f.place(); form.typ {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[int64]():
		return "int"
	default:
		return "string"
	}
}

// addresses is --listen, which may be there several times.
type addresses struct{ s *Settings }

func (a *addresses) String() string {
	if a.s == nil {
		return ""
	}
	return strings.Join(a.s.Listen, ",")
}

func (a *addresses) Set(text string) error {
	if !a.s.flagged[frontsKey] {
		a.s.Listen = nil // the default
	}
	a.s.Listen = append(a.s.Listen, text)
	a.s.flag(frontsKey)
	return nil
}

func (a *addresses) Type() string { return "string" }

// GetSlice returns the addresses one by one.
func (a *addresses) GetSlice() []string { return slices.Clone(a.s.Listen) }

// Append adds one.
func (a *addresses) Append(text string) error { return a.Set(text) }

// Replace puts others in their place.
func (a *addresses) Replace(all []string) error {
	a.s.Listen = slices.Clone(all)
	a.s.flag(frontsKey)
	return nil
}
