let () =
  assert false
