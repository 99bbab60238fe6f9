// Evaluates the x-kubernetes-validations of a schema over objects, as an API server of 1.25 or later does.
// Usage: rules.mjs FOLDER, as fetch.sh prints it.
// stdin: [{schema, object, old}, ...]; stdout: for each {passed: [rule, ...], failed: [{path, message, rule, problem}, ...]}.
// problem: the rule could not be evaluated. A rule with oldSelf needs the old object and is passed over without one.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const { celEnv, isCelError, parse, plan } = require("@bufbuild/cel");
const { strings } = require("@bufbuild/cel/ext");

// Kubernetes renames fields that CEL cannot name.
const reserved = new Set(
  ("true false null in as break const continue else for function if import let loop package namespace return var " +
   "void while").split(" "));
function celName(field) {
  if (reserved.has(field)) return `__${field}__`;
  return field.replaceAll("__", "__underscores__").replaceAll(".", "__dot__").replaceAll("-", "__dash__")
    .replaceAll("/", "__slash__");
}

function celValue(value, schema) {
  if (value === undefined || value === null) return null;
  switch (schema?.type) {
    case "integer": return BigInt(value);
    case "array": return value.map((item) => celValue(item, schema.items));
    case "object": {
      const fields = schema.properties ?? {};
      const known = Object.entries(value).filter(([key]) => schema.additionalProperties || key in fields);
      return new Map(known.map(([key, child]) => schema.additionalProperties
        ? [key, celValue(child, schema.additionalProperties)] : [celName(key), celValue(child, fields[key])]));
    }
    default: return value;
  }
}

// The API server fills in defaults before it validates.
function withDefaults(value, schema) {
  if (Array.isArray(value)) return value.map((item) => withDefaults(item, schema.items ?? {}));
  if (value === null || typeof value !== "object") return value;
  const out = { ...value };
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    if (!(name in out) && "default" in child) out[name] = child.default;
    if (name in out) out[name] = withDefaults(out[name], child);
  }
  return out;
}

const env = celEnv({ funcs: strings });
const programs = new Map();
function program(rule) {
  if (!programs.has(rule)) programs.set(rule, plan(env, parse(rule)));
  return programs.get(rule);
}

function check(value, old, schema, path, answer) {
  if (value === undefined || value === null) return;
  for (const { rule, message } of schema["x-kubernetes-validations"] ?? []) {
    const transition = /\boldSelf\b/.test(rule);
    if (transition && old === undefined) continue;
    const bindings = { self: celValue(value, schema), ...(transition && { oldSelf: celValue(old, schema) }) };
    let result;
    try { result = program(rule)(bindings); } catch (error) { result = error; }
    if (result === true) {
      answer.passed.push(rule);
    } else {
      const problem = result === false ? undefined : `${isCelError(result) ? result.message : result}`;
      answer.failed.push({ path, message, rule, problem });
    }
  }
  if (Array.isArray(value)) {
    value.forEach((item, index) => check(item, undefined, schema.items ?? {}, `${path}[${index}]`, answer));
  } else if (typeof value === "object") {
    for (const [key, child] of Object.entries(value)) {
      const field = schema.properties?.[key];
      if (field) check(child, old?.[key], field, path ? `${path}.${key}` : key, answer);
      else if (schema.additionalProperties) check(child, old?.[key], schema.additionalProperties, `${path}.${key}`, answer);
    }
  }
}

const answers = JSON.parse(readFileSync(0, "utf8")).map(({ schema, object, old }) => {
  const answer = { passed: [], failed: [] };
  check(withDefaults(object, schema), old && withDefaults(old, schema), schema, "", answer);
  return answer;
});
process.stdout.write(JSON.stringify(answers));
