-- What REST users get back. The routes of native gRPC and gRPC-Web do not pass here.

local CODES = {
  [1] = "CANCELLED", [2] = "UNKNOWN", [3] = "INVALID_ARGUMENT", [4] = "DEADLINE_EXCEEDED", [5] = "NOT_FOUND",
  [6] = "ALREADY_EXISTS", [7] = "PERMISSION_DENIED", [8] = "RESOURCE_EXHAUSTED", [9] = "FAILED_PRECONDITION",
  [10] = "ABORTED", [11] = "OUT_OF_RANGE", [12] = "UNIMPLEMENTED", [13] = "INTERNAL", [14] = "UNAVAILABLE",
  [15] = "DATA_LOSS", [16] = "UNAUTHENTICATED",
}

-- Ours to know, not the caller's.
local INTERNAL_HEADERS = {
  "x-http-code", "grpc-status", "grpc-message", "grpc-encoding", "grpc-accept-encoding", "grpc-status-details-bin",
}

-- The transcoder prints {"code":5,"message":"…","details":[…]}, always in this order. The message stays escaped as it is.
local function our_error(body)
  local number, start = string.match(body, '^{"code":(%d+),"message":()"')
  if not number then
    return nil
  end
  local position = start + 1
  while true do
    local stop = string.find(body, '["\\]', position)
    if not stop then
      return nil
    end
    if string.byte(body, stop) == 34 then
      local rest = string.match(body, '^,"details":(.*)}%s*$', stop + 1)
      if not rest then
        return nil
      end
      local code = CODES[tonumber(number)] or "UNKNOWN"
      return '{"error":' .. string.sub(body, start, stop) .. ',"code":"' .. code .. '","details":' .. rest .. "}"
    end
    position = stop + 2
  end
end

-- {"submission":{…}} → {…}: the `response_body` of the HTTP rule, which the transcoder cannot do.
local function only_field(body, field)
  local prefix = '{"' .. field .. '":'
  if string.sub(body, 1, #prefix) ~= prefix or string.sub(body, -1) ~= "}" then
    return nil
  end
  return string.sub(body, #prefix + 1, -2)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local kind = headers:get("content-type") or ""
  if string.sub(kind, 1, 16) == "application/grpc" then
    -- A native call to a path that is not there: its client needs what we would take away.
    return
  end
  local wanted = headers:get("x-http-code")
  if wanted and string.match(wanted, "^[2-5]%d%d$") then
    headers:replace(":status", wanted)
  end
  for _, name in ipairs(INTERNAL_HEADERS) do
    headers:remove(name)
  end
  local status = headers:get(":status")
  if status == "503" and not headers:get("retry-after") then
    headers:add("retry-after", "1")
  end
  local field = handle:filterContext():get("unwrap")
  if tonumber(status) < 400 and not field then
    return
  end
  if string.sub(kind, 1, 16) ~= "application/json" then
    return
  end
  local body = handle:body(true)
  local length = body:length()
  if length == 0 then
    return
  end
  local text = body:getBytes(0, length)
  local rewritten = tonumber(status) < 400 and only_field(text, field) or our_error(text)
  if rewritten then
    -- Asked for again: what was fetched before the wait for the body is out of scope after it.
    handle:headers():replace("content-length", body:setBytes(rewritten))
  end
end
