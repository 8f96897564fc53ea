-- Refuses unknown paths and methods, and what the transcoder would swallow: a body that is not declared as JSON, and
-- fields that nobody knows. Each route says which by its filter context.
--
-- Walks the keys of the JSON body beside the message types in FIELDS, which is generated from the descriptor set:
--   FIELDS[message][key] = true       any value: it is the transcoder's to judge
--   FIELDS[message][key] = "message"  an object, or an array of objects, of that type
-- Both spellings of a name are keys. On anything that is not well-formed JSON the walk ends and the transcoder,
-- which reads the same bytes next, says what is wrong with it.

local byte, find, sub = string.byte, string.find, string.sub

local MALFORMED = {}

-- Returns the position after a string that begins at `position` (its opening quote), and whether it has escapes.
local function skip_string(text, position)
  local escaped = false
  position = position + 1
  while true do
    local stop = find(text, '["\\]', position)
    if not stop then
      error(MALFORMED)
    end
    if byte(text, stop) == 34 then
      return stop + 1, escaped
    end
    escaped = true
    position = stop + 2
  end
end

-- Returns the position after any value, however deep, without recursion.
local function skip_value(text, position)
  local first = byte(text, position)
  if first == 34 then
    return (skip_string(text, position))
  end
  if first ~= 123 and first ~= 91 then
    return find(text, "[,}%]%s]", position) or error(MALFORMED)
  end
  local depth = 1
  position = position + 1
  while depth > 0 do
    position = find(text, '["{}%[%]]', position)
    if not position then
      error(MALFORMED)
    end
    local mark = byte(text, position)
    if mark == 34 then
      position = skip_string(text, position)
    else
      depth = depth + ((mark == 123 or mark == 91) and 1 or -1)
      position = position + 1
    end
  end
  return position
end

local function skip_space(text, position)
  return find(text, "[^ \t\r\n]", position) or error(MALFORMED)
end

local SIMPLE = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

-- A key may spell its letters as escapes, and the transcoder would read them. Beyond ASCII no field of ours has letters.
local function unescape(key)
  local parts, position = {}, 1
  while true do
    local stop = find(key, "\\", position, true)
    if not stop then
      parts[#parts + 1] = sub(key, position)
      return table.concat(parts)
    end
    parts[#parts + 1] = sub(key, position, stop - 1)
    local letter = sub(key, stop + 1, stop + 1)
    if letter == "u" then
      local code = tonumber(sub(key, stop + 2, stop + 5), 16)
      parts[#parts + 1] = code and code < 128 and string.char(code) or "?"
      position = stop + 6
    else
      parts[#parts + 1] = SIMPLE[letter] or letter
      position = stop + 2
    end
  end
end

local walk_object

local function walk_value(text, position, message, path, unknown)
  local first = byte(text, position)
  if first == 123 then
    return walk_object(text, position, message, path, unknown)
  end
  if first ~= 91 then
    return skip_value(text, position)
  end
  local index = 0
  position = skip_space(text, position + 1)
  if byte(text, position) == 93 then
    return position + 1
  end
  while true do
    if byte(text, position) == 91 then
      -- The transcoder would flatten lists in lists; to follow it there would let a body choose our depth.
      unknown[#unknown + 1] = { path = path .. "[" .. index .. "]", problem = "expected an object, not a list" }
      error(unknown)
    end
    position = walk_value(text, position, message, path .. "[" .. index .. "]", unknown)
    position = skip_space(text, position)
    local mark = byte(text, position)
    if mark == 93 then
      return position + 1
    elseif mark ~= 44 then
      error(MALFORMED)
    end
    position = skip_space(text, position + 1)
    index = index + 1
  end
end

walk_object = function(text, position, message, path, unknown)
  local fields = FIELDS[message]
  position = skip_space(text, position + 1)
  if byte(text, position) == 125 then
    return position + 1
  end
  while true do
    if byte(text, position) ~= 34 then
      error(MALFORMED)
    end
    local after, escaped = skip_string(text, position)
    local key = sub(text, position + 1, after - 2)
    if escaped then
      key = unescape(key)
    end
    position = skip_space(text, after)
    if byte(text, position) ~= 58 then
      error(MALFORMED)
    end
    position = skip_space(text, position + 1)
    local kind = fields[key]
    if kind == nil then
      unknown[#unknown + 1] = { key = key, path = path, message = message }
      -- Enough to tell; a body of nothing but unknown fields should not cost more than one of known ones.
      if #unknown == 10 then
        error(unknown)
      end
      position = skip_value(text, position)
    elseif kind == true then
      position = skip_value(text, position)
    else
      position = walk_value(text, position, kind, (path == "" and "" or path .. ".") .. key, unknown)
    end
    position = skip_space(text, position)
    local mark = byte(text, position)
    if mark == 125 then
      return position + 1
    elseif mark ~= 44 then
      error(MALFORMED)
    end
    position = skip_space(text, position + 1)
  end
end

-- Number of insertions, deletions, replacements and swaps of neighbours that lead from one word to the other.
local function distance(a, b)
  local before, last, row = {}, {}, {}
  for j = 0, #b do
    last[j] = j
  end
  for i = 1, #a do
    row = { [0] = i }
    for j = 1, #b do
      local cost = byte(a, i) == byte(b, j) and 0 or 1
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
      if i > 1 and j > 1 and byte(a, i) == byte(b, j - 1) and byte(a, i - 1) == byte(b, j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
    before, last = last, row
  end
  return last[#b]
end

local function nearest(key, message)
  if #key > 40 then
    return nil
  end
  local best, best_distance = nil, math.max(1, math.floor(#key / 3)) + 1
  for name in pairs(FIELDS[message]) do
    local far = distance(string.lower(key), string.lower(name))
    -- Prefer the proto's own spelling, then the alphabet, so that the answer is always the same one.
    local better = far < best_distance
      or (best and far == best_distance and (CAMEL[name] and 1 or 0) .. name < (CAMEL[best] and 1 or 0) .. best)
    if better then
      best, best_distance = name, far
    end
  end
  return best and (CAMEL[best] or best)
end

local function quote(text)
  local rest = string.gsub(text, "[\240-\244][\128-\191][\128-\191][\128-\191]", "")
  rest = string.gsub(rest, "[\224-\239][\128-\191][\128-\191]", "")
  rest = string.gsub(rest, "[\194-\223][\128-\191]", "")
  if find(rest, "[\128-\255]") then
    -- Not UTF-8, and JSON must be.
    text = string.gsub(text, "[\128-\255]", "?")
  end
  text = string.gsub(text, '["\\]', "\\%0")
  text = string.gsub(text, "[%c\127]", function(letter) return string.format("\\u%04x", byte(letter)) end)
  return '"' .. text .. '"'
end

local function shorten(text)
  if #text <= 64 then
    return text
  end
  -- Not in the middle of a code point.
  return string.gsub(sub(text, 1, 64), "[\192-\255][\128-\191]*$", "") .. "…"
end

local function answer(handle, status, sentence, code, details)
  -- Envoy wraps what its filters answer; this mark makes it send ours as it stands.
  handle:streamInfo():dynamicMetadata():set("sentinel", "answered", true)
  handle:respond(
    { [":status"] = status, ["content-type"] = "application/json" },
    '{"error":' .. quote(sentence) .. ',"code":"' .. code .. '","details":[' .. details .. "]}"
  )
end

local function error_info(reason)
  return '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"' .. reason
    .. '","domain":"sentinel","metadata":{}}'
end

-- Where it is and what is wrong with it.
local function describe(field)
  if field.problem then
    return field.path, field.problem, field.path .. ": " .. field.problem
  end
  local key = shorten(field.key)
  local meant = nearest(field.key, field.message)
  local hint = meant and '; did you mean "' .. meant .. '"?' or ""
  local place = field.path ~= "" and " in " .. field.path or ""
  return (field.path == "" and "" or field.path .. ".") .. key,
    "unknown field" .. hint,
    'unknown field "' .. key .. '"' .. place .. hint
end

local function refuse_unknown(handle, unknown)
  local violations, first = {}, nil
  for _, field in ipairs(unknown) do
    local path, text, sentence = describe(field)
    first = first or sentence
    violations[#violations + 1] = '{"field":' .. quote(path) .. ',"description":' .. quote(text) .. "}"
  end
  answer(handle, "400", first, "INVALID_ARGUMENT",
    error_info("INVALID_FIELD")
      .. ',{"@type":"type.googleapis.com/google.rpc.BadRequest","field_violations":['
      .. table.concat(violations, ",") .. "]}")
end

function envoy_on_request(handle)
  local context = handle:filterContext()
  local refusal = context:get("refuse")
  if refusal then
    -- Envoy's local replies have the words.
    handle:respond({ [":status"] = refusal, ["allow"] = context:get("allow") }, "")
    return
  end
  local message = context:get("message")
  if not message then
    return
  end
  local headers = handle:headers()
  local kind = string.lower(headers:get("content-type") or "")
  local is_json = kind == "application/json" or find(kind, "^application/json%s*;")
  local declared = tonumber(headers:get("content-length") or "0")
  -- What has a length need not be waited for. Without a body the type does not matter: libraries send odd ones.
  local body = (is_json or declared == 0) and handle:body()
  if body and body:length() == 0 then
    return
  end
  if not is_json and (body or declared ~= 0) then
    answer(handle, "415", "send the body as Content-Type: application/json", "INVALID_ARGUMENT",
      error_info("UNSUPPORTED_MEDIA_TYPE"))
    return
  end
  if not body then
    return
  end
  local text = body:getBytes(0, body:length())
  local unknown = {}
  local fine, problem = pcall(function()
    local position = skip_space(text, 1)
    if byte(text, position) == 123 then
      walk_object(text, position, message, "", unknown)
    end
  end)
  if not fine and problem ~= MALFORMED and problem ~= unknown then
    handle:logErr("requests.lua: " .. tostring(problem))
  end
  if #unknown > 0 and (fine or problem == unknown) then
    refuse_unknown(handle, unknown)
  end
end
