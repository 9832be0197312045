"""Teach Rufus yourself: he speaks, a person ranks or corrects, he learns and speaks again."""
