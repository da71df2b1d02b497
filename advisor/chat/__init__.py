"""Conversations to text with their targets marked: messages, templates, calls, thoughts."""
