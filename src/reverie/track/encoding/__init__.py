"""Texts, images and films in the form that terminals, files and services take."""
