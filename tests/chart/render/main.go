// render - what `helm template` prints, for tests on machines without Helm: Go's text/template with sprig, as Helm uses them.
//
// Covered: values from the chart, files (-f) and --set/--set-string/--set-json, with null deleting a default; .Values .Release .Chart
// .Capabilities .Files .Template; include, tpl, toYaml, fromYaml, toJson, fromJson, required, fail, lookup (always empty, as in
// `helm template`); hooks apart; NOTES.txt. Not covered: dependencies, library charts, post-renderers, the values schema (chart.py has it).
//
// Output: one JSON object {"notes": ..., "documents": [{"template": ..., "text": ...}]}. Errors: one line on stderr, exit code 1.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/ioutil"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

type document struct {
	Template string `json:"template"`
	Text     string `json:"text"`
}

// files is .Files.
type files map[string][]byte

func (f files) Get(name string) string { return string(f[name]) }
func (f files) Glob(pattern string) files {
	found := files{}
	for name, content := range f {
		if ok, _ := filepath.Match(pattern, name); ok {
			found[name] = content
		}
	}
	return found
}

// versions is .Capabilities.APIVersions.
type versions []string

func (v versions) Has(name string) bool {
	for _, have := range v {
		if have == name {
			return true
		}
	}
	return false
}

type kubeVersion struct{ Version, Major, Minor string }

func (k kubeVersion) String() string     { return k.Version }
func (k kubeVersion) GitVersion() string { return k.Version }

func die(err error) {
	fmt.Fprintln(os.Stderr, "render: "+err.Error())
	os.Exit(1)
}

func readYaml(path string) map[string]interface{} {
	text, err := ioutil.ReadFile(path)
	if err != nil {
		die(err)
	}
	values := map[string]interface{}{}
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		die(fmt.Errorf("%s: %v", path, err))
	}
	return values
}

// merge lays `over` on `under`, as Helm does: maps member by member, all else replaced, null removes.
func merge(under, over map[string]interface{}) map[string]interface{} {
	out := map[string]interface{}{}
	for k, v := range under {
		out[k] = v
	}
	for k, v := range over {
		if v == nil {
			delete(out, k)
			continue
		}
		deeper, isMap := v.(map[string]interface{})
		present, wasMap := out[k].(map[string]interface{})
		if isMap && wasMap {
			out[k] = merge(present, deeper)
		} else {
			out[k] = v
		}
	}
	return out
}

// set lays a.b.c=value on the values; a dot in a name is written \. .
func set(values map[string]interface{}, assignment, kind string) map[string]interface{} {
	at := strings.Index(assignment, "=")
	if at < 1 {
		die(fmt.Errorf("--set %s: NAME=VALUE is wanted", assignment))
	}
	var value interface{} = assignment[at+1:]
	if kind != "string" {
		var parsed interface{}
		if err := yaml.Unmarshal([]byte(assignment[at+1:]), &parsed); err != nil {
			die(err)
		}
		value = parsed
	}
	path := strings.Split(strings.ReplaceAll(assignment[:at], `\.`, "\x00"), ".")
	for i := len(path) - 1; i >= 0; i-- {
		value = map[string]interface{}{strings.ReplaceAll(path[i], "\x00", "."): value}
	}
	return merge(values, value.(map[string]interface{}))
}

func toYaml(v interface{}) string {
	text, err := yaml.Marshal(v)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(text), "\n")
}

func functions(parsed *template.Template) template.FuncMap {
	f := sprig.TxtFuncMap()
	delete(f, "env")
	delete(f, "expandenv")
	f["toYaml"] = toYaml
	f["fromYaml"] = func(text string) map[string]interface{} {
		out := map[string]interface{}{}
		if err := yaml.Unmarshal([]byte(text), &out); err != nil {
			out["Error"] = err.Error()
		}
		return out
	}
	f["fromYamlArray"] = func(text string) []interface{} {
		var out []interface{}
		if err := yaml.Unmarshal([]byte(text), &out); err != nil {
			out = []interface{}{err.Error()}
		}
		return out
	}
	f["toJson"] = func(v interface{}) string { text, _ := json.Marshal(v); return string(text) }
	f["fromJson"] = func(text string) map[string]interface{} {
		out := map[string]interface{}{}
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			out["Error"] = err.Error()
		}
		return out
	}
	f["required"] = func(message string, v interface{}) (interface{}, error) {
		if text, ok := v.(string); v == nil || (ok && text == "") {
			return v, errors.New(message)
		}
		return v, nil
	}
	f["fail"] = func(message string) (string, error) { return "", errors.New(message) }
	f["lookup"] = func(apiVersion, kind, ns, name string) map[string]interface{} { return map[string]interface{}{} }
	f["include"] = func(name string, data interface{}) (string, error) {
		var out bytes.Buffer
		err := parsed.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	f["tpl"] = func(text string, data interface{}) (string, error) {
		copied, err := parsed.Clone()
		if err != nil {
			return "", err
		}
		made, err := copied.New("tpl").Parse(text)
		if err != nil {
			return "", err
		}
		var out bytes.Buffer
		err = made.Execute(&out, data)
		return strings.ReplaceAll(out.String(), "<no value>", ""), err
	}
	return f
}

func load(chart string) files {
	loaded := files{}
	err := filepath.Walk(chart, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		text, err := ioutil.ReadFile(path)
		name, _ := filepath.Rel(chart, path)
		loaded[filepath.ToSlash(name)] = text
		return err
	})
	if err != nil {
		die(err)
	}
	return loaded
}

func main() {
	var valueFiles, sets, setStrings, apiVersions list
	release := flag.String("release", "signet", "name of the release")
	namespace := flag.String("namespace", "signet-system", "namespace of the release")
	kube := flag.String("kube-version", "v1.20.2", "version of the API server")
	upgrade := flag.Bool("upgrade", false, "as `helm upgrade` renders")
	printValues := flag.Bool("values", false, "print the merged values alone")
	flag.Var(&valueFiles, "f", "file of values")
	flag.Var(&sets, "set", "NAME=VALUE, read as YAML")
	flag.Var(&setStrings, "set-string", "NAME=TEXT")
	flag.Var(&apiVersions, "api-versions", "an API that the server has")
	flag.Parse()
	if flag.NArg() != 1 {
		die(errors.New("usage: render [FLAGS] CHART"))
	}
	chart := flag.Arg(0)

	values := readYaml(filepath.Join(chart, "values.yaml"))
	for _, path := range valueFiles {
		values = merge(values, readYaml(path))
	}
	for _, assignment := range sets {
		values = set(values, assignment, "yaml")
	}
	for _, assignment := range setStrings {
		values = set(values, assignment, "string")
	}
	if *printValues {
		json.NewEncoder(os.Stdout).Encode(values)
		return
	}

	loaded := load(chart)
	meta := map[string]interface{}{}
	// Helm gives the members of Chart.yaml with a capital: .Chart.Name, .Chart.AppVersion.
	for k, v := range readYaml(filepath.Join(chart, "Chart.yaml")) {
		meta[strings.ToUpper(k[:1])+k[1:]] = v
	}
	visible, templates := files{}, []string{}
	for name, content := range loaded {
		if strings.HasPrefix(name, "templates/") {
			templates = append(templates, name)
		} else if name != "Chart.yaml" && name != "values.yaml" && name != "values.schema.json" {
			visible[name] = content
		}
	}
	sort.Strings(templates)

	parts := strings.Split(strings.TrimPrefix(*kube, "v"), ".")
	if len(parts) < 2 {
		die(fmt.Errorf("--kube-version %s: v1.MINOR.PATCH is wanted", *kube))
	}
	data := map[string]interface{}{
		"Values": values,
		"Chart":  meta,
		"Files":  visible,
		"Release": map[string]interface{}{"Name": *release, "Namespace": *namespace, "Service": "Helm", "Revision": 1,
			"IsInstall": !*upgrade, "IsUpgrade": *upgrade},
		"Capabilities": map[string]interface{}{"KubeVersion": kubeVersion{*kube, parts[0], parts[1]},
			"APIVersions": versions(apiVersions)},
	}

	parsed := template.New("chart").Option("missingkey=zero")
	parsed.Funcs(functions(parsed))
	for _, name := range templates {
		if _, err := parsed.New("signet/" + name).Parse(string(loaded[name])); err != nil {
			die(err)
		}
	}
	out := struct {
		Notes     string     `json:"notes"`
		Documents []document `json:"documents"`
	}{Documents: []document{}}
	for _, name := range templates {
		if strings.HasPrefix(filepath.Base(name), "_") {
			continue
		}
		data["Template"] = map[string]interface{}{"Name": "signet/" + name, "BasePath": "signet/templates"}
		var text bytes.Buffer
		if err := parsed.ExecuteTemplate(&text, "signet/"+name, data); err != nil {
			die(err)
		}
		made := strings.ReplaceAll(text.String(), "<no value>", "")
		if filepath.Base(name) == "NOTES.txt" {
			out.Notes = made
			continue
		}
		if strings.TrimSpace(made) != "" {
			out.Documents = append(out.Documents, document{name, made})
		}
	}
	json.NewEncoder(os.Stdout).Encode(out)
}
