// A form for a message, made from the JSON schema (draft 07) of what a function takes.
//
//   const form = formOf(schema, definitions, changed);
//   form.element         what a person fills in
//   form.value()         what that says; undefined where it is left out
//
// What a form cannot say well (a mapping, a tuple, what goes too deep) is a field for its JSON.

import {button, el, field, make, select} from './parts.js';

const DEEPEST = 5;

// A schema without references, and with all that holds together in one.
function resolved(schema, definitions) {
  if (schema === true || schema === undefined) return {};
  if (schema.$ref) {
    const {$ref, ...rest} = schema;
    return resolved({...definitions[$ref.split('/').pop()], ...rest}, definitions);
  }
  if (!schema.allOf) return schema;
  const {allOf, ...rest} = schema;
  const parts = [rest, ...allOf.map((part) => resolved(part, definitions))];
  const merged = Object.assign({}, ...parts);
  merged.properties = Object.assign({}, ...parts.map(({properties}) => properties));
  merged.required = parts.flatMap(({required}) => required ?? []);
  return merged;
}

const isNull = (schema) => schema.type === 'null';

// The variants of a schema, and whether null is one of them.
function variants(schema, definitions) {
  const several = schema.anyOf ?? schema.oneOf
    ?? (Array.isArray(schema.type) ? schema.type.map((type) => ({...schema, type})) : [schema]);
  const parts = several.map((part) => resolved(part, definitions));
  return {parts: parts.filter((part) => !isNull(part)), nullable: parts.some(isNull)};
}

const fixedIn = (schema) => schema.enum ?? ('const' in schema ? [schema.const] : null);

export function formOf(schema, definitions, changed, {label = 'Message', required = true,
  depth = 0} = {}) {
  const whole = resolved(schema, definitions);
  const {parts, nullable} = variants(whole, definitions);
  const context = {definitions, changed, label, depth, nullable,
    required: required && !nullable, given: whole.default};
  // What is left empty is null where it may be, and must be there.
  const made = parts.length > 1 ? choice(parts, context) : one(parts[0] ?? {}, context);
  if (!required || !nullable) return made;
  return {element: made.element, value: () => made.value() ?? null};
}

function one(schema, context) {
  const fixed = fixedIn(schema);
  if (fixed?.length === 1 && context.required) return {element: '', value: () => fixed[0]};
  if (fixed) return chosen(fixed.map((value) => [JSON.stringify(value), String(value)]), context);
  if (schema.type === 'boolean') return chosen([['false', 'no'], ['true', 'yes']], context);
  if (schema.type === 'string') return line(schema, context, 'text', (text) => text);
  if (['integer', 'number'].includes(schema.type)) return line(schema, context, 'number', Number);
  if (schema.type === 'object' && schema.properties && context.depth < DEEPEST) {
    return context.required ? object(schema, context) : added(schema, context);
  }
  const isList = schema.type === 'array' && schema.items && !Array.isArray(schema.items);
  if (isList && context.depth < DEEPEST) return list(schema, context);
  return json(context);
}

const marked = ({label, required}) => (required ? label : `${label} (optional)`);

function chosen(options, context) {
  const none = context.given === undefined ? '(left out)' : `(left out: ${context.given})`;
  const all = context.required ? options : [['', none], ...options];
  const chooser = select(all, all[0][0]);
  chooser.addEventListener('input', context.changed);
  return {
    element: field(marked(context), chooser),
    value: () => (chooser.value === '' ? undefined : JSON.parse(chooser.value)),
  };
}

function line(schema, context, type, read) {
  const input = make('input', {type, autocomplete: 'off', spellcheck: false});
  if (type === 'number') {
    input.step = schema.type === 'integer' ? '1' : 'any';
    if ('minimum' in schema) input.min = schema.minimum;
    if ('maximum' in schema) input.max = schema.maximum;
  }
  if (schema.format) input.placeholder = schema.format;
  if (context.given !== undefined && context.given !== null) input.placeholder = context.given;
  input.addEventListener('input', context.changed);
  const value = () => {
    if (input.value !== '') return read(input.value);
    return type === 'text' && context.required ? '' : undefined;
  };
  return {element: field(marked(context), input), value};
}

function json(context) {
  const input = make('textarea', {rows: 2, spellcheck: false, className: 'code'});
  if (context.given !== undefined) input.placeholder = JSON.stringify(context.given);
  input.addEventListener('input', () => {
    input.setCustomValidity('');
    context.changed();
  });
  const value = () => {
    if (!input.value.trim()) return undefined;
    try {
      return JSON.parse(input.value);
    } catch {
      input.setCustomValidity('This is no JSON.');
      return undefined;
    }
  };
  return {element: field(`${marked(context)}, as JSON`, input), value};
}

// The fields of an object, and what they say.
function fieldsOf(schema, context) {
  const needed = new Set(schema.required ?? []);
  const inner = Object.entries(schema.properties).map(([name, part]) => [name, formOf(part,
    context.definitions, context.changed,
    {label: name, required: needed.has(name), depth: context.depth + 1})]);
  const elements = inner.map(([, form]) => form.element).filter(Boolean);
  if (schema.description) elements.unshift(el('p', 'quiet', schema.description));
  const value = () => {
    const found = {};
    for (const [name, form] of inner) {
      const said = form.value();
      if (said !== undefined) found[name] = said;
    }
    return found;
  };
  return {elements, value};
}

function object(schema, context) {
  const {elements, value} = fieldsOf(schema, context);
  const words = context.depth ? context.label : schema.title ?? context.label;
  return {element: el('fieldset', '', el('legend', '', words), ...elements), value};
}

// An object that may be left out: it is, and its fields are not there, until somebody adds it. One
// that holds another of its own type would not end otherwise.
function added(schema, context) {
  let form = null;
  const inside = el('div', 'items');
  const turn = (made) => {
    form = made;
    inside.replaceChildren(...(form ? [...form.elements, remove] : [add]));
  };
  const add = button('Add', () => {
    turn(fieldsOf(schema, context));
    inside.querySelector('input, select, textarea, button').focus();
    context.changed();
  }, {label: `Add ${context.label}`});
  const remove = button('Remove', () => {
    turn(null);
    add.focus();
    context.changed();
  }, {label: `Remove ${context.label}`});
  turn(null);
  const words = `${context.label} (optional)`;
  return {element: el('fieldset', '', el('legend', '', words), inside), value: () => form?.value()};
}

function list(schema, context) {
  const items = [];
  const rows = el('div', 'items');
  const renamed = () => items.forEach(({remove}, index) => (
    remove.setAttribute('aria-label', `Remove ${context.label} ${index + 1}`)));
  const more = button('Add', () => {
    add();
    context.changed();
    rows.lastChild.querySelector('input, select, textarea')?.focus();
  }, {label: `Add to ${context.label}`});
  const add = () => {
    const form = formOf(schema.items, context.definitions, context.changed,
      {label: `${context.label} ${items.length + 1}`, depth: context.depth + 1});
    const remove = button('Remove', () => {
      items.splice(items.indexOf(item), 1);
      row.remove();
      renamed();
      more.focus();
      context.changed();
    });
    const row = el('div', 'item', form.element, remove);
    const item = {form, remove};
    items.push(item);
    rows.append(row);
    renamed();
  };
  for (let count = schema.minItems ?? 0; count > 0; count -= 1) add();
  const element = el('fieldset', '', el('legend', '', marked(context)), rows, more);
  const value = () => (items.length || context.required
    ? items.map(({form}) => form.value() ?? null) : undefined);
  return {element, value};
}

function choice(parts, context) {
  const names = parts.map((part, index) => [String(index),
    part.title ?? part.type ?? `variant ${index + 1}`]);
  const chooser = select(names);
  const place = el('div');
  let form = null;
  const show = () => {
    form = one(parts[Number(chooser.value)], {...context, depth: context.depth + 1});
    place.replaceChildren(form.element);
  };
  chooser.addEventListener('input', () => {
    show();
    context.changed();
  });
  show();
  const element = el('div', '', field(`${context.label}: which kind`, chooser), place);
  return {element, value: () => form.value()};
}
